"""What can go wrong with text.

::

    TextError                (ValueError)
     ├── TemplateMissing     the model has no chat template
     ├── TemplateRejected    the template itself refused the messages: the caller's fault
     ├── TemplateFailed      the template is broken, or what it does is not allowed
     ├── TokenizerUnusable   tokenizer.json cannot be read
     └── PromptUnencodable   user text cannot be kept apart from control tokens
"""

from __future__ import annotations


class TextError(ValueError):
    """Base of all; the message is fit for the client or the operator, as the class says."""


class TemplateMissing(TextError):
    """The model folder holds no chat template: a base model, or a broken download."""


class TemplateRejected(TextError):
    """`raise_exception` was called in the template, and the message is the template's own; or the
    final message is to be continued, but the template does not end with it."""


class TemplateFailed(TextError):
    """The template cannot be compiled, fails while rendering, or passes a limit of the sandbox."""


class TokenizerUnusable(TextError):
    """The folder's tokenizer.json is missing or is not one."""


class PromptTooLong(TextError):
    """The rendered chat has more characters than the caller allows; `num_chars` says how many."""

    def __init__(self, num_chars: int) -> None:
        super().__init__(f"the prompt has {num_chars} characters")
        self.num_chars = num_chars


class PromptUnencodable(TextError):
    """The model's tokenizer makes control tokens out of plain text, so user text is refused."""
