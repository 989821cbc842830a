"""Encodes a rendered chat in which user text that reads like control tokens is disguised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers
from tokenizers import AddedToken, models

from engine.text.errors import PromptUnencodable

if TYPE_CHECKING:
    from engine.text.disguise import Disguise
    from engine.text.tokenizer import Tokenizer

# Noncharacters: never part of interchanged text, and replaced if someone sends them anyway.
_BARRIER = "\U0010fffe\U0010ffff"
_NO_TOKEN = "\U0010fffe"


class BarrierEncoder:
    """Gives the ids that the tokenizer would give if the hidden text were no added token.

    Two steps. A finder with all added tokens, but no vocabulary, says where the template's own
    are: it cannot see the disguised ones. Then each of these is replaced by one barrier token and
    all the rest, user text revealed, is encoded in one go by the same vocabulary with the barrier
    as its only added token. So the text breaks where the template's tokens break it and nowhere
    else (encoding it in pieces would add SentencePiece's leading spaces).
    """

    def __init__(self, tokenizer: Tokenizer, control_ids: frozenset[int]) -> None:
        full = tokenizer.backend
        # Plain text may be unknown, and that token is a special one too.
        self._control_ids = control_ids - {tokenizer.unknown_id}
        self._ids = {token.content: id_ for id_, token in tokenizer.added_tokens.items()}
        self._finder = tokenizers.Tokenizer(models.WordLevel({_NO_TOKEN: 0}, unk_token=_NO_TOKEN))
        if full.normalizer is not None:
            self._finder.normalizer = full.normalizer
        self._finder.add_tokens([token for _, token in sorted(tokenizer.added_tokens.items())])
        self._plain = tokenizers.Tokenizer(full.model)  # shares the vocabulary
        if full.normalizer is not None:
            self._plain.normalizer = full.normalizer
        if full.pre_tokenizer is not None:
            self._plain.pre_tokenizer = full.pre_tokenizer
        self._plain.add_special_tokens([AddedToken(_BARRIER, normalized=False, special=True)])
        barrier_id = self._plain.token_to_id(_BARRIER)
        assert barrier_id is not None
        self._barrier_id = barrier_id

    def encode(self, rendered: str, disguise: Disguise) -> list[int]:
        """The ids of `rendered`, its disguised stretches as plain text.

        Raises PromptUnencodable if the vocabulary itself makes a control token out of them.
        """
        rendered = rendered.replace(_BARRIER, "\ufffd")
        template_ids, stretches = self._split(rendered, disguise)
        ids = self._encode_stretches(stretches, disguise, template_ids)
        if ids is None:
            # A vocabulary that holds its own control tokens as pieces (Unigram does) spells them
            # with one id even so. Broken up between characters they cannot be.
            ids = self._encode_stretches(stretches, disguise, template_ids, after_each=_BARRIER)
        if ids is None:
            raise PromptUnencodable("the tokenizer makes a control token out of plain text")
        return ids

    def _split(self, rendered: str, disguise: Disguise) -> tuple[list[int], list[str]]:
        """The template's own added tokens, and the texts before, between and after them."""
        # `encode` would hold the interpreter's lock all the while; the batch call does not.
        (found,) = self._finder.encode_batch([rendered], add_special_tokens=False)
        template_ids: list[int] = []
        stretches: list[str] = []
        position = 0
        spans = zip(found.ids, found.tokens, found.offsets, strict=True)
        for finder_id, token, (start, end) in spans:
            if not finder_id or disguise.covers(rendered[start:end]):
                continue
            template_ids.append(self._ids[token])
            stretches.append(rendered[position:start])
            position = end
        stretches.append(rendered[position:])
        return template_ids, stretches

    def _encode_stretches(
        self,
        stretches: list[str],
        disguise: Disguise,
        template_ids: list[int],
        after_each: str = "",
    ) -> list[int] | None:
        """None if a control token came out that the template did not write."""
        texts = [disguise.reveal(text, after_each=after_each) for text in stretches]
        at_barriers: list[int | None] = []
        for text, template_id in zip(texts, [*template_ids, None], strict=True):
            at_barriers += [None] * text.count(_BARRIER)
            if template_id is not None:
                at_barriers.append(template_id)
        joined = _BARRIER.join(texts)
        (encoding,) = self._plain.encode_batch_fast([joined], add_special_tokens=False)
        remaining = iter(at_barriers)
        ids: list[int] = []
        for id_ in encoding.ids:
            if id_ == self._barrier_id:
                template_id = next(remaining)
                ids += [] if template_id is None else [template_id]
            elif id_ in self._control_ids:
                return None
            else:
                ids.append(id_)
        return ids
