"""Message content: a string, or a list of parts. A text model takes text parts only.

Media parts are known, so that refusing one can say which and where; what they hold is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Raw

from service.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PARTS = 2048


class TextPart(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A piece of text."""

    text: str
    prompt_cache_breakpoint: dict[str, Raw] | None = None
    """To no effect: the prefix cache finds prefixes by itself."""


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal", forbid_unknown_fields=True):
    """A refusal in an earlier answer; to the model it is what the assistant said."""

    refusal: str


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """An image, by URL or inline."""


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    """Sound, inline."""


class VideoPart(msgspec.Struct, tag_field="type", tag="video_url"):
    """Moving pictures, by URL."""


class FilePart(msgspec.Struct, tag_field="type", tag="file"):
    """A document, by id or inline."""


MediaPart = ImagePart | AudioPart | VideoPart | FilePart
Part = TextPart | RefusalPart | MediaPart
Parts = Annotated[list[Part], Meta(min_length=1, max_length=MAX_PARTS)]
Content = str | Parts


def text_of(content: Content, at: str) -> str:
    """The text of a message's content; parts are joined by line breaks, as peers do.

    Raises:
        NotSupported: a media part, for a model that takes text only; names the part.
    """
    if isinstance(content, str):
        return content
    return "\n".join(_texts_of(content, at))


def _texts_of(parts: Sequence[Part], at: str) -> list[str]:
    texts = []
    for index, part in enumerate(parts):
        match part:
            case TextPart(text=text) | RefusalPart(refusal=text):
                texts.append(text)
            case _:
                kind = part.__struct_config__.tag
                raise NotSupported(
                    f"This model takes text only: parts of type `{kind}` are not supported.",
                    param=f"{at}[{index}]",
                )
    return texts
