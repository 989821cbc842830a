"""The engine alone: what it must do at the least, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transformers

from engine.bench.ceiling import Ceiling
from engine.bench.cost import Cost, ModelShape
from engine.bench.latency import NUM_WARM_STEPS, Cell, Latencies, LatencyCell, config_for
from engine.bench.latency_table import HEAD, cell_line, explanation, machine_lines
from engine.config import EngineConfig, SchedulerConfig
from engine.models.card import read_card
from engine.models.loader import load
from engine.protocol import Ready
from engine.runner import LoadedModel
from observability.bench.errors import CannotMeasure
from tests.tiny_model import save_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engine.runner import Runner
    from engine.step import StepPlan, StepResult

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
    shape = ModelShape.of(READY, [None], config())
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
    shape = ModelShape.of(READY, [None], config(tie_word_embeddings=False))
    assert shape is not None
    assert shape.num_body_parameters == 1000 - 2 * 160


def test_experts_and_windows_are_not_counted() -> None:
    assert ModelShape.of(READY, [None], transformers.Qwen3MoeConfig()) is None
    assert ModelShape.of(READY, [None, 512], transformers.Gemma3TextConfig()) is None
    assert ModelShape.of(READY, [64], transformers.MistralConfig()) is None


CELLS = [
    Cell(kind="decode", batch=1, length=20),
    Cell(kind="decode", batch=40, length=30),
    Cell(kind="prefill", batch=1, length=100),
    Cell(kind="prefill", batch=3, length=7),
]


# Of no machine: what a machine can do is measured in test_ceiling.
CEILING = Ceiling(bytes_per_s=1e11, bytes_by="", operations_per_s=1e12, operations_by="")


class PlanKeeper:
    """A runner that keeps the plans of the one that it passes them to."""

    def __init__(self, runner: Runner) -> None:
        self.plans: list[StepPlan] = []
        self._runner = runner

    def execute(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        return self._runner.execute(plan)

    def probe(self) -> None:
        self._runner.probe()


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "Qwen2")


def measured(
    folder: Path, cells: list[Cell], scheduler: SchedulerConfig
) -> tuple[list[LatencyCell], list[StepPlan]]:
    """The cells at 3 repeats, and the plans of all steps that they took."""
    given = EngineConfig(card=read_card(folder, "tiny"), scheduler=scheduler)
    config = config_for(given, cells, 3)
    loaded = load(config, lambda _: None)
    keeper = PlanKeeper(loaded.runner)
    shape = ModelShape.of(loaded.ready, [None], transformers.AutoConfig.from_pretrained(folder))
    kept = LoadedModel(keeper, loaded.ready, loaded.groups)
    latencies = Latencies(kept, config, CEILING, shape, num_repeats=3)
    return list(latencies.measure(cells)), keeper.plans


def test_cells_run_as_many_sequences_as_they_say(tiny_folder: Path) -> None:
    done, _ = measured(tiny_folder, CELLS, SchedulerConfig())
    assert [one.cell for one in done] == CELLS
    for one in done:
        assert one.num_repeats == 3
        assert 0 < one.min_ms <= one.median_ms <= one.max_ms
        assert one.share is not None
        assert one.share > 0
        num = one.cell.batch * (1 if one.cell.kind == "decode" else one.cell.length)
        assert one.tokens_per_s == pytest.approx(num / one.median_ms * 1000)


def test_a_decode_is_steps_of_the_scheduler_in_which_all_draw_and_nothing_else(
    tiny_folder: Path,
) -> None:
    cell = Cell(kind="decode", batch=5, length=20)
    _, plans = measured(tiny_folder, [cell], SchedulerConfig())
    # All prompts fit into one step.
    assert [plan.num_tokens for plan in plans] == [5 * 20, *[5] * (NUM_WARM_STEPS + 3)]
    for index, plan in enumerate(plans[1:]):
        assert list(plan.draws) == [1] * 5
        assert list(plan.starts) == [20 + index] * 5


def test_what_a_decode_is_charged_with_is_what_its_steps_see(tiny_folder: Path) -> None:
    cell = Cell(kind="decode", batch=3, length=20)
    # A step holds a prompt and a half: the first draw while the last are still prefilled.
    (one,), plans = measured(tiny_folder, [cell], SchedulerConfig(max_batch_tokens=30))
    middle = plans[-2]
    num_seen = sum(middle.starts) + 3
    assert len(set(middle.starts)) > 1
    shape = ModelShape(
        num_body_parameters=74304,
        num_head_parameters=260 * 64,
        bytes_per_parameter=4.0,
        kv_bytes_per_token=2 * 2 * 2 * 16 * 4.0,  # keys and values, layers, heads, size, bytes
        attention_width=2 * 4 * 16,
    )
    cost = Cost.of(
        shape, num_steps=1, num_tokens=3, num_drawn=3, num_seen=num_seen, num_read=num_seen
    )
    least_s, bound = cost.least_s(CEILING)
    assert one.share == pytest.approx(least_s / one.median_ms * 1e3)
    assert one.bound == bound


def test_a_prefill_computes_the_whole_prompt_each_time_and_one_more_to_warm_up(
    tiny_folder: Path,
) -> None:
    cell = Cell(kind="prefill", batch=1, length=100)
    _, plans = measured(tiny_folder, [cell], SchedulerConfig(max_batch_tokens=64))
    assert [plan.num_tokens for plan in plans] == [64, 36] * 4


@pytest.mark.parametrize(
    "scheduler", [SchedulerConfig(max_running=4), SchedulerConfig(max_batch_tokens=8)]
)
def test_more_sequences_than_there_are_places_for_are_refused(
    tiny_folder: Path, scheduler: SchedulerConfig
) -> None:
    cell = Cell(kind="decode", batch=8, length=20)
    with pytest.raises(CannotMeasure, match="raise --max-running or --max-batch-tokens"):
        measured(tiny_folder, [cell], scheduler)


def test_what_the_engine_refuses_is_said(tiny_folder: Path) -> None:
    cell = Cell(kind="prefill", batch=1, length=100_000)
    with pytest.raises(CannotMeasure, match="refuses"):
        measured(tiny_folder, [cell], SchedulerConfig())


def test_a_model_is_loaded_with_a_ceiling_and_a_cache_for_its_cells(tiny_folder: Path) -> None:
    cell = Cell(kind="decode", batch=2, length=20)
    latencies = Latencies.load(EngineConfig(card=read_card(tiny_folder, "tiny")), [cell], 1)
    assert latencies.ceiling.bytes_by
    (one,) = latencies.measure([cell])
    assert one.share is not None
    assert machine_lines(latencies.ready, latencies.num_threads, latencies.ceiling)
    for line in (HEAD, *cell_line(one).splitlines(), *explanation([one]).splitlines()):
        assert len(line) <= 100
