"""Made models are whole: loaded by the real code, with words of one token, the same each time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest

from engine.bench.random_model import SHAPES, make_model, save_weights
from engine.config import EngineConfig
from engine.inline import open_inline
from engine.models.registry import resolve
from engine.protocol import Finished, SamplingParams, Submit, pack_token_ids
from engine.text.tokenizer import Tokenizer
from observability.bench.errors import CannotMeasure, WrongOption
from observability.bench.workload.counter import TokenizerCounter
from observability.bench.workload.prompt_maker import PromptMaker
from observability.bench.workload.words import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from engine.models.card import ModelCard


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "deep" / "tiny"
    make_model("tiny", folder)
    return folder


@pytest.fixture(scope="module")
def made_card(made_folder: Path) -> ModelCard:
    return resolve(str(made_folder))


def test_a_made_model_answers(made_card: ModelCard) -> None:
    assert anyio.run(answer_of, made_card) == 8


async def answer_of(card: ModelCard) -> int:
    """How many tokens it gives."""
    params = SamplingParams(8, 0.0, 1.0, 0, seed=0)
    submit = Submit("one", pack_token_ids([5, 6, 7]), params, time.monotonic_ns())
    config = EngineConfig(card=card, device="cpu", max_model_len=64)
    with anyio.fail_after(30):
        async with open_inline(config) as client:
            await client.wait_ready()
            with client.generate(submit) as conversation:
                while True:
                    for event in await conversation.receive():
                        if isinstance(event, Finished):
                            return event.num_output_tokens


def test_each_word_of_the_bench_is_one_token(made_folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(made_folder)
    assert tokenizer.vocab_size == 32_768
    assert all(len(tokenizer.encode(word)) == 1 for word in WORDS)
    assert all(len(tokenizer.encode(f" {word}")) == 1 for word in WORDS)
    assert tokenizer.decode(tokenizer.encode("Ünïcode 的 🙂\n")) == "Ünïcode 的 🙂\n"
    PromptMaker(TokenizerCounter.from_path(made_folder))


def test_the_card_says_what_was_made(made_card: ModelCard) -> None:
    assert made_card.vocab_size == 32_768
    assert made_card.name == "tiny"


def test_a_made_model_is_chatml_and_ends_with_its_end(made_folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(made_folder)
    assert tokenizer.encode("<|im_end|>") == [32_767]
    assert '"eos_token_id": 32767' in (made_folder / "config.json").read_text()
    assert "<|im_start|>" in (made_folder / "chat_template.jinja").read_text()


def test_the_same_seed_gives_the_same_model_and_another_other_weights(
    made_folder: Path, tmp_path: Path
) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    again.mkdir()  # an empty folder is taken
    make_model("tiny", again)
    for file in sorted(made_folder.iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    other.mkdir()
    save_weights(SHAPES["tiny"], other, "float32", 1, vocab_size=32_768, end_id=32_767)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (again, other)]
    assert [len(each) // 1_000_000 for each in weights] == [4, 8]
    save_weights(SHAPES["tiny"], again, "bfloat16", 1, vocab_size=32_768, end_id=32_767)
    assert (again / "model.safetensors").read_bytes() != weights[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other"]


def test_what_cannot_be_made_is_told_and_nothing_is_touched(
    made_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(WrongOption, match=r"qwen2\.5-0\.5b, llama-1b, tiny"):
        make_model("huge", tmp_path / "new")
    with pytest.raises(WrongOption, match="bfloat16"):
        make_model("tiny", tmp_path / "new", dtype="int4")
    with pytest.raises(CannotMeasure, match="name a new folder"):
        make_model("tiny", made_folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotMeasure, match="cannot be made"):
        make_model("tiny", tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_shape_is_what_transformers_makes_of_it(shape: str) -> None:
    import torch
    import transformers

    one = SHAPES[shape]
    config = getattr(transformers, f"{one.family}Config")(**one.sizes, vocab_size=32_768)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    num = round(sum(weights.numel() for weights in model.parameters()) / 1e6)
    assert f"{num} M parameters" in one.about
