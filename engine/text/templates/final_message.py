"""A chat whose final message is not complete: the model goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from engine.text.errors import TemplateRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

# As in transformers: white space at its end shows whether the template strips contents.
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "


class FinalMessage:
    """Finds where the content of the final message ends in the rendered text of a chat.

    It equals `continue_final_message=True` of transformers 5: the content is rendered with a mark
    behind it, and the text is cut off there. `messages` are those to render.
    """

    def __init__(self, messages: Sequence[dict[str, object]]) -> None:
        """Raises TemplateRejected if there is no text to continue."""
        final = messages[-1] if messages else {}
        self._text, marked = _marked(final.get("content"))
        self.messages = [*messages[:-1], {**final, "content": marked}]

    def cut(self, rendered: str) -> str:
        """The rendered text up to the end of the content.

        Raises TemplateRejected if the template has dropped the content, or some of it.
        """
        place = rendered.rfind(_MARK.strip())
        if place < 0 or self._text.strip() not in rendered:
            _reject("the template does not write all of its text")
        is_stripped = not rendered.startswith(_MARK, place)
        return rendered[:place].rstrip() if is_stripped else rendered[:place]


def _marked(content: object) -> tuple[str, object]:
    """The text that is continued, and the content with the mark behind it."""
    if isinstance(content, str):
        return content, content + _MARK
    parts = list(content) if isinstance(content, list | tuple) else []
    for place in reversed(range(len(parts))):
        part = parts[place]
        if isinstance(part, dict) and isinstance(text := part.get("text"), str):
            parts[place] = {**part, "text": text + _MARK}
            return text, parts
    _reject("it has no text")


def _reject(reason: str) -> NoReturn:
    raise TemplateRejected(f"the final message cannot be continued: {reason}")
