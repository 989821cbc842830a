"""The streamed text equals one decode, whatever the ids and the split."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def streamed(
    tokenizer: Tokenizer, ids: list[int], sizes: list[int], skip_special_tokens: bool = True
) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens)
    pieces, place = [], 0
    for size in [*sizes, len(ids)]:
        pieces.append(detokenizer.push(ids[place : place + size]))
        place += size
    return [*pieces, detokenizer.finish()]


@QUICK
@given(data=st.data())
def test_random_ids_in_random_pieces_give_the_text_of_one_decode(
    folder: Path, data: st.DataObject
) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 5), max_size=40))
    sizes = data.draw(st.lists(st.integers(0, 4), max_size=40))
    for skip in (True, False):
        text = "".join(streamed(tokenizer, ids, sizes, skip))
        assert text == tokenizer.decode(ids, skip_special_tokens=skip)


@QUICK
@given(text=st.text(max_size=40))
def test_any_text_comes_back_token_by_token(folder: Path, text: str) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.encode(text)
    assert "".join(streamed(tokenizer, ids, [1] * len(ids))) == tokenizer.decode(ids)


@QUICK
@given(data=st.data())
def test_runs_of_byte_tokens_agree_however_broken(
    folders: dict[str, Path], data: st.DataObject
) -> None:
    for family in ("llama", "unigram", "byte_level"):
        tokenizer = Tokenizer.from_folder(folders[family])
        names = [f"<0x{b:02X}>" for b in (0x41, 0xE4, 0xBD, 0xA0, 0xF0, 0x9F, 0xFF, 0xC0, 0x80)]
        known = [i for n in names if (i := tokenizer.token_to_id(n)) is not None]
        known += tokenizer.encode("é 你 🙂 the")
        ids = data.draw(st.lists(st.sampled_from(known), max_size=24))
        assert "".join(streamed(tokenizer, ids, [1] * len(ids))) == tokenizer.decode(ids)


def test_half_a_character_is_held_back_and_replaced_only_at_the_end(
    folders: dict[str, Path],
) -> None:
    tokenizer = Tokenizer.from_folder(folders["byte_level"])
    ids = tokenizer.encode("🦉")
    assert len(ids) > 1
    pieces = streamed(tokenizer, ids[:-1], [1] * (len(ids) - 1))
    assert set(pieces[:-1]) == {""}
    assert pieces[-1] == tokenizer.decode(ids[:-1]) == "\ufffd"
    assert streamed(tokenizer, ids, [1] * len(ids))[len(ids) - 1] == "🦉"


@pytest.mark.parametrize("family", ["byte_level", "llama", "unigram", "word_piece"])
def test_whole_characters_are_not_held_back(folders: dict[str, Path], family: str) -> None:
    tokenizer = Tokenizer.from_folder(folders[family])
    ids = tokenizer.encode("the quick brown fox")
    pieces = streamed(tokenizer, ids, [1] * len(ids))
    given = "".join(pieces[: len(ids)])
    assert given == tokenizer.decode(ids)
    assert all(pieces[1 : len(ids)])


DECODERS = [
    None,
    decoders.ByteLevel(),
    decoders.Metaspace(prepend_scheme="never"),
    decoders.Metaspace(prepend_scheme="always"),
    decoders.WordPiece(cleanup=False),
    decoders.BPEDecoder(suffix="</w>"),
    decoders.Strip(" ", 2, 0),  # the library panics if it strips a token from both ends
    decoders.Strip("a", 0, 1),
    decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 3, 0)]),
    decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]),
    decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c")]),
    decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)]),
    decoders.CTC(),
]


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
@QUICK
@given(data=st.data())
def test_every_decoder_of_the_library_agrees(
    tmp_path: Path, decoder: decoders.Decoder | None, data: st.DataObject
) -> None:
    tokens = [
        "a",
        "b",
        " ",
        "  a",
        "##b",
        "▁",
        "▁a▁",
        "b</w>",
        "<0xC3>",
        "<0xA9>",
        "Ã",
        "©",
        "Ġ",
        "'s",
    ]
    backend = Backend(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="a"))
    if decoder is not None:
        backend.decoder = decoder
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    ids = data.draw(st.lists(st.integers(0, len(tokens)), min_size=1, max_size=12))
    for skip in (True, False):
        text = "".join(streamed(tokenizer, ids, [1] * len(ids), skip))
        assert text == tokenizer.decode(ids, skip_special_tokens=skip)


def test_special_tokens_are_text_only_if_asked_for(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.from_folder(folders["byte_level"])
    ids = tokenizer.encode("<|im_start|>the fox<|im_end|>")
    assert "".join(streamed(tokenizer, ids, [1] * len(ids))) == "the fox"
    pieces = streamed(tokenizer, ids, [1] * len(ids), False)
    assert pieces[0] == "<|im_start|>"
    assert "".join(pieces) == "<|im_start|>the fox<|im_end|>"


def test_the_cost_grows_with_the_length_and_not_with_its_square(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.from_folder(folders["byte_level"])
    ids = tokenizer.encode("the quick brown fox ") * 1000
    best = {}
    for count in (2000, 8000):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            streamed(tokenizer, ids[:count], [1] * count)
            times.append(time.perf_counter() - begin)
        best[count] = min(times)
    assert best[8000] < 10 * best[2000]


def test_decoding_equals_transformers(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder)
    ids = list(range(ours.vocab_size)) * 2
    kwargs = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    assert ours.decode(ids) == theirs.decode(ids, **kwargs)
    kwargs["skip_special_tokens"] = False
    assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, **kwargs)
    assert "".join(streamed(ours, ids, [1] * len(ids), False)) == theirs.decode(ids, **kwargs)
    assert json.loads(ours.backend.to_str())["added_tokens"]
