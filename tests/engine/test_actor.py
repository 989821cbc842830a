"""The engine as the service sees it: a real client, actor and scheduler around a hash runner."""

from __future__ import annotations

import math
import threading
import time
import weakref
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

from engine.actor import EngineActor
from engine.client import Conversation, EngineClient
from engine.config import EngineConfig, SchedulerConfig
from engine.errors import EngineLoading, EngineOverloaded, EngineUnavailable, StartupError
from engine.models.card import ModelCard
from engine.protocol import (
    Failed,
    Finished,
    Ready,
    RequestEvent,
    SamplingParams,
    Submit,
    Tokens,
    pack_token_ids,
)
from engine.runner import LoadedModel
from tests.hash_runner import HashRunner, expected_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from engine.actor import Load
    from engine.step import StepPlan, StepResult

READY = Ready("m", "cpu", "float32", 32, 4, 128, 64, 0, 0, 0)
GROUPS: list[tuple[int, int | None]] = [(READY.num_blocks, None)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class GatedRunner(HashRunner):
    """Counts threads, and can be made to wait or to fail at a step."""

    def __init__(self) -> None:
        super().__init__(READY.num_blocks, READY.block_size)
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.faults: list[BaseException] = []
        self.is_broken = False

    def execute(self, plan: StepPlan) -> StepResult:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(5)
        if self.faults:
            raise self.faults.pop()
        return super().execute(plan)

    def probe(self) -> None:
        if self.is_broken:
            raise RuntimeError("broken")


def config_of(
    name: str, limits: SchedulerConfig | None = None, memory_bytes: int = 0
) -> EngineConfig:
    card = ModelCard(name, "", "", "", 128, 7, (), None, "float32", 0, 0, {})
    return EngineConfig(card, scheduler=limits or SchedulerConfig(), memory_bytes=memory_bytes)


@asynccontextmanager
async def engine(
    runner: HashRunner | None = None,
    limits: SchedulerConfig | None = None,
    load: Load | None = None,
    memory_bytes: int = 0,
) -> AsyncIterator[EngineClient]:
    limits = limits or SchedulerConfig()
    commands, inbox = anyio.create_memory_object_stream[bytes](math.inf)
    client = EngineClient(commands, limits)
    model = runner or GatedRunner()
    actor = EngineActor(
        load or (lambda *_: LoadedModel(model, READY, GROUPS)),
        config_of("m", limits, memory_bytes),
        inbox,
        client.take_in,
        time.monotonic_ns,
    )
    with anyio.fail_after(20), commands, closing(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(actor.run)
            yield client
            tasks.cancel_scope.cancel()


def submit(request_id: str, prompt: list[int], max_tokens: int = 4, model: str = "") -> Submit:
    params = SamplingParams(max_tokens, temperature=0, top_p=1, top_k=0, seed=0)
    arrived_ns = time.monotonic_ns()
    return Submit(request_id, pack_token_ids(prompt), params, arrived_ns, model=model)


async def all_events(conversation: Conversation) -> list[RequestEvent]:
    events: list[RequestEvent] = []
    while not conversation.is_over:
        events += await conversation.receive()
    return events


async def answer(client: EngineClient, message: Submit) -> list[RequestEvent]:
    with client.generate(message) as conversation:
        return await all_events(conversation)


def tokens_of(events: list[RequestEvent]) -> list[int]:
    return [token for e in events if isinstance(e, Tokens) for token in e.token_ids]


async def settle(client: EngineClient) -> None:
    """Until everything sent before this has been taken in: commands keep their order."""
    await answer(client, submit("the last", [0], 1))


async def test_tokens_come_in_order_and_then_the_end() -> None:
    async with engine() as client:
        events = await answer(client, submit("a", [1, 2, 3]))
        assert tokens_of(events) == expected_tokens([1, 2, 3], 4)
        assert isinstance(events[-1], Finished)


async def test_an_idle_engine_has_no_running_step() -> None:
    async with engine() as client:
        await answer(client, submit("a", [1]))
        await settle(client)
        assert client.stats.step_started_ns == 0


async def test_many_requests_share_steps_and_one_thread() -> None:
    runner = GatedRunner()
    answers: dict[int, list[RequestEvent]] = {}
    async with engine(runner) as client:

        async def ask(number: int) -> None:
            answers[number] = await answer(client, submit(str(number), [number], 8))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, number)
        assert client.stats.num_steps < 8 * 8 / 2
    assert len(runner.threads) == 1
    assert {n: tokens_of(e) for n, e in answers.items()} == {
        n: expected_tokens([n], 8) for n in range(8)
    }


async def test_leaving_early_aborts_and_frees_the_blocks() -> None:
    async with engine() as client:
        with client.generate(submit("a", [1], max_tokens=120)) as conversation:
            await conversation.receive()
            assert client.stats.num_running == 1
        await settle(client)
        assert client.stats.finishes == {"abort": 1, "length": 1}
        assert (client.stats.num_blocks_used, client.num_in_flight) == (0, 0)


async def test_a_cancelled_reader_aborts_too() -> None:
    async with engine() as client:
        with anyio.CancelScope() as reader:
            with client.generate(submit("a", [1], max_tokens=120)) as conversation:
                await conversation.receive()
                reader.cancel()
                await anyio.sleep_forever()
        await settle(client)
        assert client.stats.finishes["abort"] == 1


async def test_beyond_the_limits_is_overload_and_leaves_nothing_behind() -> None:
    runner = GatedRunner()
    runner.gate.clear()
    async with engine(runner, SchedulerConfig(max_running=1, max_waiting=1)) as client:
        await client.wait_ready()
        with (
            client.generate(submit("a", [1])) as first,
            client.generate(submit("b", [2])) as second,
        ):
            with pytest.raises(EngineOverloaded), client.generate(submit("c", [3])):
                pass
            runner.gate.set()
            assert tokens_of(await all_events(first)) == expected_tokens([1], 4)
            assert tokens_of(await all_events(second)) == expected_tokens([2], 4)
        assert client.num_in_flight == 0
        assert tokens_of(await answer(client, submit("c", [3]))) == expected_tokens([3], 4)


async def test_a_step_that_fails_ends_its_requests_and_the_next_step_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner = GatedRunner()
    runner.faults = [RuntimeError("secret detail")]
    async with engine(runner) as client:
        (failed,) = await answer(client, submit("a", [1]))
        assert isinstance(failed, Failed)
        assert failed.code == "engine_error"
        assert "secret" not in failed.message
        assert tokens_of(await answer(client, submit("b", [2]))) == expected_tokens([2], 4)
        await settle(client)
    assert "secret detail" in caplog.text


async def test_a_device_that_is_broken_ends_the_engine_at_the_first_step_that_fails() -> None:
    runner = GatedRunner()
    runner.faults, runner.is_broken = [RuntimeError("broken")], True
    async with engine(runner) as client:
        *_, last = await answer(client, submit("a", [1]))
        assert isinstance(last, Failed)
        assert (await client.wait_down()).code == "engine_error"
        with pytest.raises(EngineUnavailable), client.generate(submit("b", [1])):
            pass


@pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt()])
async def test_what_would_end_a_thread_ends_no_more_than_its_step(fault: BaseException) -> None:
    runner = GatedRunner()
    runner.faults = [fault]
    async with engine(runner) as client:
        (failed,) = await answer(client, submit("a", [1]))
        assert isinstance(failed, Failed)
        assert tokens_of(await answer(client, submit("b", [2]))) == expected_tokens([2], 4)


async def test_stopping_waits_for_the_running_step_and_ends_every_request() -> None:
    runner = GatedRunner()
    runner.gate.clear()
    async with engine(runner) as client:
        await client.wait_ready()
        with client.generate(submit("a", [1])) as conversation:
            await anyio.lowlevel.checkpoint()
            client._commands.close()  # the service is going away
            runner.gate.set()
            events = await all_events(conversation)
    assert isinstance(events[-1], Failed | Finished)
    assert len([e for e in events if isinstance(e, Failed | Finished)]) == 1


async def test_requests_sent_while_the_model_loads_are_answered_after_it() -> None:
    gate = threading.Event()

    def load(_: EngineConfig, progress: Callable[[float], None]) -> LoadedModel:
        progress(0.5)
        assert gate.wait(5)
        return LoadedModel(GatedRunner(), READY, GROUPS)

    async with engine(load=load) as client:
        with pytest.raises(EngineLoading):
            await client.wait_ready(timeout_s=0)
        with client.generate(submit("a", [1])) as conversation:
            gate.set()
            assert tokens_of(await all_events(conversation)) == expected_tokens([1], 4)
        assert client.load_fraction == 0.5
        assert await client.wait_ready() == READY


async def test_a_model_that_cannot_load_says_why_to_everyone_who_waits() -> None:
    def load(_: EngineConfig, progress: Callable[[float], None]) -> LoadedModel:
        raise StartupError("no room")

    async with engine(load=load) as client:
        down = await client.wait_down()
        assert (down.code, down.message) == ("startup_failed", "no room")
        with pytest.raises(EngineUnavailable, match="no room"):
            await client.wait_ready()


async def test_two_hundred_clients_that_vanish_leave_nothing_in_use() -> None:
    async with engine() as client:
        async with anyio.create_task_group() as tasks:

            async def come_and_go(number: int) -> None:
                with client.generate(submit(str(number), [number % 7], 100)) as conversation:
                    await conversation.receive()

            for number in range(200):
                tasks.start_soon(come_and_go, number)
        await settle(client)
        assert client.num_in_flight == 0
        assert client.stats.num_blocks_used == 0


class Shelf:
    """Models by name, as a loader: each has a runner of its own, and `broken` cannot be loaded."""

    def __init__(self) -> None:
        self.runners: dict[str, GatedRunner] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.memory_bytes: dict[str, int] = {}

    def __call__(self, config: EngineConfig, progress: Callable[[float], None]) -> LoadedModel:
        name = config.card.name
        if name != "m":
            assert self.gate.wait(5)
        progress(0.5)
        if name == "broken":
            raise StartupError("broken is not whole")
        self.memory_bytes[name] = config.memory_bytes
        self.runners[name] = GatedRunner()
        ready = msgspec.structs.replace(READY, model=name, weight_bytes=70, kv_cache_bytes=30)
        return LoadedModel(self.runners[name], ready, GROUPS)


async def test_a_second_model_answers_beside_the_first() -> None:
    async with engine(load=Shelf()) as client:
        await client.load_model(config_of("other"))
        answers: dict[str, list[int]] = {}

        async def ask(model: str) -> None:
            answers[model] = tokens_of(await answer(client, submit(model, [5], 6, model)))

        async with anyio.create_task_group() as tasks:
            for model in ("m", "other"):
                tasks.start_soon(ask, model)
        assert answers == dict.fromkeys(("m", "other"), expected_tokens([5], 6))
        assert client.stats.finishes == {"length": 2}


async def test_a_model_loads_while_another_answers() -> None:
    shelf = Shelf()
    async with engine(load=shelf) as client:
        shelf.gate.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.load_model, config_of("slow"))
            await answer(client, submit("meanwhile", [1]))
            assert "slow" not in client.models
            shelf.gate.set()
        assert "slow" in client.models


async def test_a_model_that_cannot_be_loaded_harms_no_other() -> None:
    async with engine(load=Shelf()) as client:
        with pytest.raises(StartupError, match="broken is not whole"):
            await client.load_model(config_of("broken"))
        assert tokens_of(await answer(client, submit("a", [1]))) == expected_tokens([1], 4)


async def test_a_request_for_a_model_that_is_not_loaded_fails() -> None:
    async with engine(load=Shelf()) as client:
        await client.wait_ready()
        (failed,) = await answer(client, submit("a", [1], model="nobody"))
        assert isinstance(failed, Failed)
        assert failed.code == "model_not_loaded"


async def test_an_unloaded_model_fails_its_requests_and_lets_go_of_its_runner() -> None:
    shelf = Shelf()
    async with engine(load=shelf) as client:
        await client.load_model(config_of("other"))
        runner = weakref.ref(shelf.runners["other"])
        with client.generate(submit("long", [1], 100, "other")) as conversation:
            await conversation.receive()
            shelf.runners.clear()
            await client.unload_model("other")
            events = await all_events(conversation)
        assert isinstance(events[-1], Failed)
        assert events[-1].code == "model_not_loaded"
        assert runner() is None
        assert tokens_of(await answer(client, submit("a", [1]))) == expected_tokens([1], 4)
        assert client.stats.finishes == {"error": 1, "length": 1}
        await client.load_model(config_of("other"))
        assert await answer(client, submit("again", [1], model="other"))


async def test_a_model_unloaded_while_it_loads_goes_as_soon_as_it_has_come() -> None:
    shelf = Shelf()
    async with engine(load=shelf) as client:
        await client.wait_ready()
        shelf.gate.clear()

        async def load_in_vain() -> None:
            with pytest.raises(StartupError, match="was unloaded"):
                await client.load_model(config_of("brief"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load_in_vain)
            await settle(client)
            tasks.start_soon(client.unload_model, "brief")
            await settle(client)
            shelf.gate.set()
        await client.load_model(config_of("next"))
        (failed,) = await answer(client, submit("a", [1], model="brief"))
        assert isinstance(failed, Failed)


async def test_a_model_wanted_again_while_it_loads_leaves_nobody_waiting() -> None:
    shelf = Shelf()
    async with engine(load=shelf) as client:
        await client.wait_ready()
        shelf.gate.clear()

        async def load() -> None:
            with suppress(StartupError):  # it may hear of the unload between
                await client.load_model(config_of("fickle"))

        async with anyio.create_task_group() as tasks:
            for each in (load, partial(client.unload_model, "fickle"), load):
                tasks.start_soon(each)
                await settle(client)
            shelf.gate.set()
        await client.load_model(config_of("fickle"))
        assert await answer(client, submit("a", [1], model="fickle"))


async def test_a_broken_engine_says_so_while_another_model_still_loads() -> None:
    shelf = Shelf()
    async with engine(load=shelf) as client:
        await client.wait_ready()
        shelf.gate.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load_until_down, client)
            await settle(client)
            shelf.runners["m"].faults.append(RuntimeError("broken"))
            shelf.runners["m"].is_broken = True
            with client.generate(submit("a", [1])) as conversation:
                assert isinstance((await all_events(conversation))[-1], Failed)
            assert (await client.wait_down()).code == "engine_error"
            shelf.gate.set()


async def load_until_down(client: EngineClient) -> None:
    with pytest.raises(EngineUnavailable):
        await client.load_model(config_of("slow"))


async def test_a_request_that_cannot_be_encoded_leaves_nothing_behind() -> None:
    async with engine() as client:
        await client.wait_ready()
        bad = msgspec.structs.replace(submit("a", [1]), deadline_ns=2**64)
        with pytest.raises(OverflowError), client.generate(bad):
            pass
        assert client.num_in_flight == 0
        assert await answer(client, submit("b", [1]))


async def test_models_share_one_budget_of_memory() -> None:
    shelf = Shelf()
    async with engine(load=shelf, memory_bytes=250) as client:
        await client.load_model(config_of("second"))
        await client.load_model(config_of("third"))
        assert shelf.memory_bytes == {"m": 250, "second": 150, "third": 50}
        with pytest.raises(StartupError, match="unload one of them"):
            await client.load_model(config_of("fourth"))
        await client.unload_model("second")
        await client.load_model(config_of("fourth"))
