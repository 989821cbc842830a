"""The bytes of a token are those that it adds to a text."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from engine.text.tokenizer import Tokenizer

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def joined(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, ids))


def byte_level_folders(folders: dict[str, Path]) -> list[Path]:
    return [folders[name] for name in ("byte_level", "embedded") if name in folders]


@QUICK
@given(data=st.data())
def test_the_bytes_of_any_byte_level_tokens_joined_are_their_text(
    folders: dict[str, Path], data: st.DataObject
) -> None:
    for folder in byte_level_folders(folders):
        tokenizer = Tokenizer.from_folder(folder)
        special = {id_ for id_, token in tokenizer.added_tokens.items() if token.special}
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 5), max_size=40))
        ids = [id_ for id_ in ids if id_ not in special]
        assert joined(tokenizer, ids).decode("utf-8", errors="replace") == tokenizer.decode(ids)


@QUICK
@given(text=st.text(max_size=40))
def test_the_bytes_of_a_byte_level_text_are_its_utf8(folders: dict[str, Path], text: str) -> None:
    for folder in byte_level_folders(folders):
        tokenizer = Tokenizer.from_folder(folder)
        ids = tokenizer.encode(text)
        assert joined(tokenizer, ids).decode("utf-8") == tokenizer.decode(ids, False)


@pytest.mark.parametrize("family", ["llama", "unigram"])
@QUICK
@given(text=st.text(alphabet=st.sampled_from("the quick Größe 你🙂 \n<0xE4>"), max_size=30))
def test_the_bytes_of_a_sentencepiece_text_are_its_text_but_for_a_leading_space(
    folders: dict[str, Path], family: str, text: str
) -> None:
    tokenizer = Tokenizer.from_folder(folders[family])
    ids = tokenizer.encode(text)
    told = joined(tokenizer, ids).decode("utf-8")
    assert tokenizer.decode(ids, False) in (told, told.removeprefix(" "))


@pytest.mark.parametrize("family", ["llama", "unigram"])
def test_a_byte_token_is_its_byte_and_the_mark_is_a_space(
    folders: dict[str, Path], family: str
) -> None:
    tokenizer = Tokenizer.from_folder(folders[family])
    byte, mark = tokenizer.token_to_id("<0xE4>"), tokenizer.token_to_id("▁")
    assert byte is not None
    assert mark is not None
    assert tokenizer.token_bytes(byte) == b"\xe4"
    assert tokenizer.token_bytes(mark) == b" "


def test_a_word_piece_brings_the_space_that_is_before_it(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.from_folder(folders["word_piece"])
    ids = tokenizer.encode("the lazy dog.")
    assert joined(tokenizer, ids).decode() == " " + tokenizer.decode(ids)


def test_a_special_token_is_its_name_and_an_unknown_one_is_nothing(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    for id_, token in tokenizer.added_tokens.items():
        if token.special:
            assert tokenizer.token_bytes(id_) == token.content.encode()
    assert tokenizer.token_bytes(tokenizer.vocab_size + 7) == b""


@pytest.mark.parametrize(
    ("decoder", "token", "expected"),
    [
        (None, "a", b" a"),
        (decoders.BPEDecoder(suffix="</w>"), "b</w>", b"b "),
        (decoders.Metaspace(prepend_scheme="always"), "▁a▁", b" a "),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 3, 0)]), "  c", b"  c"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]), "<0xC3>", b"\xc3"),
        (decoders.CTC(), "b</w>", b"b</w>"),
    ],
    ids=str,
)
def test_every_decoder_is_asked_what_it_makes_of_a_token_inside_a_text(
    tmp_path: Path, decoder: decoders.Decoder | None, token: str, expected: bytes
) -> None:
    backend = Backend(models.WordLevel({"x": 0, token: 1}, unk_token="x"))
    if decoder is not None:
        backend.decoder = decoder
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_folder(tmp_path).token_bytes(1) == expected
