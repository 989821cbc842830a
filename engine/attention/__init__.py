"""The seam into unmodified Hugging Face models.

- ``base``        the Protocol: what a model's layers call instead of their own attention
- ``seam``        registers it with transformers under one name
- ``paged_sdpa``  the reference: gather blocks, then scaled dot product attention; any device
- ``probe``       learns, in dry runs, what each layer will want to cache
"""
