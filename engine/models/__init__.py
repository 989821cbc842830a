"""The models: which can be served, where they are, what is known of them before weights load.

- ``card``          ModelCard: a model folder, read and judged without torch
- ``registry``      a name, a folder or a hub id -> ModelCard
- ``model_folder``  the files of such a folder, checked before anything maps them
- ``rejection``     what is refused, and why
- ``families``      what is known to answer right
- ``quantized``     which packed weights load, and what the others need
- ``errors``        what can go wrong, with what to do next

The loading of weights lives beside these and may import torch; these never do.
"""
