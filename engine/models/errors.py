"""What can be wrong with a model.

::

    ModelError              (ValueError)
     ├── ModelNotFound      no such name, folder or repository, or the hub cannot be reached
     ├── UnsupportedModel   it is a model, but not one that is served
     └── BadModelFolder     files are missing, cut off or contradict each other

Every message ends with what to do next.
"""

from __future__ import annotations


class ModelError(ValueError):
    """Base of all; the message is for the operator."""


class ModelNotFound(ModelError):
    """Nothing is there under this name."""


class UnsupportedModel(ModelError):
    """The folder holds a model that is refused: by its kind, its code or its file format."""


class BadModelFolder(ModelError):
    """The folder's files cannot be used as they are."""
