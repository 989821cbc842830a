"""The engine alone: what it must do at the least, and what it took."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from engine.bench.ceiling import Ceiling
from engine.bench.cost import Cost, ModelShape
from engine.bench.latency import Cell, Latencies
from engine.config import EngineConfig
from engine.models.card import read_card
from engine.protocol import Ready
from observability.bench.errors import CannotMeasure
from tests.tiny_model import save_tiny_model

READY = Ready(
    model="m",
    device="cpu",
    dtype="float32",
    num_blocks=10,
    block_size=16,
    max_model_len=128,
    max_batch_tokens=64,
    num_parameters=1000,
    weight_bytes=4000,
    kv_cache_bytes=10 * 16 * 8,
    vocab_size=10,
)


def config(**fields: Any) -> transformers.PretrainedConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "vocab_size": 10,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "tie_word_embeddings": True,
    }
    return transformers.Qwen2Config(**sizes | fields)


def test_what_a_step_must_do_is_counted_by_hand() -> None:
    shape = ModelShape.of(READY, config())
    assert shape == ModelShape(
        num_body_parameters=1000 - 160,
        num_head_parameters=160,
        bytes_per_parameter=4.0,
        kv_bytes_per_token=8.0,
        attention_width=3 * 16,
    )
    cost = Cost.of(shape, num_steps=1, num_tokens=2, num_drawn=2, num_seen=30, num_read=30)
    assert cost.num_bytes == 4 * 1000 + 8 * 32
    assert cost.num_operations == 2 * 840 * 2 + 2 * 160 * 2 + 4 * 48 * 30
    untold = Cost.of(shape, num_steps=1, num_tokens=2, num_drawn=0, num_seen=3, num_read=0)
    assert untold.num_bytes == 4 * 840 + 8 * 2


def test_what_bounds_is_the_slower_of_the_two() -> None:
    cost = Cost(num_bytes=100, num_operations=1000)
    slow_memory = Ceiling(bytes_per_s=10, bytes_by="", operations_per_s=1000, operations_by="")
    assert cost.least_s(slow_memory) == (10, "bytes")
    slow_sums = Ceiling(bytes_per_s=1000, bytes_by="", operations_per_s=10, operations_by="")
    assert cost.least_s(slow_sums) == (100, "operations")


def test_weights_of_their_own_for_the_head_are_not_read_with_the_embedding() -> None:
    shape = ModelShape.of(READY, config(tie_word_embeddings=False))
    assert shape is not None
    assert shape.num_body_parameters == 1000 - 2 * 160


def test_experts_and_windows_are_not_counted() -> None:
    assert ModelShape.of(READY, transformers.Qwen3MoeConfig()) is None
    assert ModelShape.of(READY, transformers.Gemma3TextConfig()) is None


CELLS = [
    Cell(kind="decode", batch=1, length=20),
    Cell(kind="decode", batch=40, length=30),
    Cell(kind="prefill", batch=1, length=100),
    Cell(kind="prefill", batch=3, length=7),
]


@pytest.fixture(scope="module")
def latencies(tmp_path_factory: pytest.TempPathFactory) -> Latencies:
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "Qwen2")
    return Latencies.load(EngineConfig(card=read_card(folder, "tiny")), CELLS, 3)


def test_a_machine_reads_and_computes(latencies: Latencies) -> None:
    assert 1e8 < latencies.ceiling.bytes_per_s < 1e13
    assert 1e8 < latencies.ceiling.operations_per_s < 1e15


def test_cells_run_as_many_sequences_as_they_say(latencies: Latencies) -> None:
    done = list(latencies.measure(CELLS))
    assert [one.cell for one in done] == CELLS
    for one in done:
        assert one.num_repeats == 3
        assert 0 < one.min_ms <= one.median_ms <= one.max_ms
        assert one.share is not None
        assert 0 < one.share < 1.5
        num = one.cell.batch * (1 if one.cell.kind == "decode" else one.cell.length)
        assert one.tokens_per_s == pytest.approx(num / one.median_ms * 1000)


def test_what_the_engine_refuses_is_said(latencies: Latencies) -> None:
    with pytest.raises(CannotMeasure, match="refuses"):
        list(latencies.measure([Cell(kind="prefill", batch=1, length=100_000)]))
