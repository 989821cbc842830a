"""The harmony format of GPT-OSS: its marks, and the headers of its messages.

``<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>``.
The prompt ends with ``<|start|>assistant``; further messages of the answer begin with it.
"""

from __future__ import annotations

import re

import msgspec

START = "<|start|>"
CHANNEL = "<|channel|>"
CONSTRAIN = "<|constrain|>"
MESSAGE = "<|message|>"
ENDS = ("<|call|>", "<|end|>", "<|return|>")
MAX_HEADER_CHARS = 1024

_HEADER = re.compile(r"(?:<\|start\|>)?([^<]*)(?:<\|channel\|>([^<]*)(?:<\|constrain\|>[^<]*)?)?")
_RECIPIENT = re.compile(r"(?:^|\s|assistant)to=(\S*)")
_FUNCTION = re.compile(r"functions\.([^\s<>{}\"]+)")


class Header(msgspec.Struct, frozen=True, gc=False):
    """What a message's header says."""

    channel: str
    """Empty if it names none."""
    recipient: str | None

    @property
    def function(self) -> str:
        """The name of the function that the message calls; "" if it calls none."""
        match = _FUNCTION.match(self.recipient) if self.recipient else None
        return match[1] if match else ""


def header_of(text: str) -> Header | None:
    """A header, up to its `<|message|>`; None if the text is none."""
    match = _HEADER.fullmatch(text.lstrip())
    if match is None:
        return None
    role, channel = match[1], match[2] or ""
    recipient = _RECIPIENT.search(role) or _RECIPIENT.search(channel)
    return Header("".join(channel.split()[:1]), recipient[1] if recipient else None)
