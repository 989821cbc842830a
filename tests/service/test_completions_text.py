"""A text goes on where its prompt ends, whatever the tokenizer drops at the beginning of a text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import transformers

from engine.text.tokenizer import Tokenizer
from service.choice_text import ChoiceText
from service.deltas import ContentDelta
from tests.engine.text.conftest import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

BEGINNINGS = ("The quick brown", "The quick ", "über 🙂", "<|im_start|>user\nThe", "a\n")
ENDS = (" fox jumps", "fox", " 🙂🙂 and", "ö", "", " ")


def tokenizer_of(family: str, folder: Path) -> Tokenizer:
    FAMILIES[family]().save(str(folder / "tokenizer.json"))
    return Tokenizer.from_folder(folder)


def text_after(tokenizer: Tokenizer, prompt_ids: list[int], token_ids: list[int]) -> str:
    """What a choice makes of these tokens, one by one."""
    choice = ChoiceText(0, tokenizer, lambda: "", prompt_ids=prompt_ids)
    deltas = [delta for token_id in token_ids for delta in choice.push((token_id,))]
    contents = [each.delta for each in (*deltas, *choice.finish())]
    return "".join(content.text for content in contents if isinstance(content, ContentDelta))


@pytest.mark.parametrize("family", ["llama", "byte_level", "unigram"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("end", ENDS)
def test_prompt_and_answer_together_are_what_transformers_makes_of_all_tokens(
    family: str, beginning: str, end: str, tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(family, tmp_path)
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=os.fspath(tmp_path / "tokenizer.json")
    )
    ids = tokenizer.encode(beginning + end)
    for cut in range(1, len(ids)):
        prompt = reference.decode(ids[:cut], skip_special_tokens=True)
        if "\ufffd" in prompt or not prompt:  # cut within a character, or nothing was said yet
            continue
        together = prompt + text_after(tokenizer, ids[:cut], ids[cut:])
        assert together == reference.decode(ids, skip_special_tokens=True)


def test_a_text_after_nothing_begins_as_a_text_does(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("llama", tmp_path)
    assert text_after(tokenizer, [], tokenizer.encode("The fox")) == "The fox"


def test_characters_that_the_prompt_has_left_open_are_not_told(tmp_path: Path) -> None:
    """A run of byte tokens is text only when it has ended; what it says belongs to the prompt."""
    tokenizer = tokenizer_of("llama", tmp_path)
    prompt = tokenizer.encode("The 🙂")
    assert text_after(tokenizer, prompt, tokenizer.encode("x and")[1:]).startswith("x")
