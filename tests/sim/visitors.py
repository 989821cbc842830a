"""Visitors: each asks for one answer through the real `EngineClient`, and behaves as people do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from engine.errors import EngineError, EngineUnavailable, StartupError
from engine.protocol import Failed, Finished, RequestEvent, Submit
from tests.sim.failure import claim

if TYPE_CHECKING:
    from engine.client import Conversation
    from tests.sim.world import World


async def visit(world: World, submit: Submit) -> None:
    """Ask, read for as long as patience lasts, and leave."""
    rng = world.rng
    is_leaver = not world.faults.is_calm and rng.random() < world.scenario.share_of_leavers
    patience_s = rng.expovariate(1 / (20 * world.scenario.mean_gap_s)) if is_leaver else 1e9
    reads = not is_leaver or rng.random() < 0.7
    try:
        with world.client.generate(submit) as conversation:
            if is_leaver:
                with anyio.move_on_after(patience_s):
                    await (_read(world, conversation) if reads else anyio.sleep(patience_s))
            else:
                await _read(world, conversation)
    except EngineError as error:
        world.seen[f"refused: {error.code}"] += 1
        return
    finally:
        world.note(f"{submit.request_id} leaves")
    if not conversation.is_over:
        world.seen["visitors who left early"] += 1
        world.left.append(submit.request_id)


async def _read(world: World, conversation: Conversation) -> None:
    """To the end, and compare with what the engine has said."""
    events: list[RequestEvent] = []
    while not conversation.is_over:
        events += await conversation.receive()
    *before, last = events
    claim(isinstance(last, Finished | Failed), "a conversation ends with its end")
    claim(not any(isinstance(e, Finished | Failed) for e in before), "a conversation ends once")
    told = world.ledger.told.get(conversation.request_id)
    said = told.events if told else []
    claim(before == said[: len(before)], "a visitor hears what the engine has said")
    if not world.is_ending:
        claim(events == said, "a visitor hears all that the engine has said")


async def operate(world: World) -> None:
    """Load and unload models, in any order, while visitors come and go."""
    rng = world.rng
    while not world.faults.is_calm and not world.is_ending:
        await anyio.sleep(rng.expovariate(1 / (30 * world.scenario.mean_gap_s)))
        name = rng.choice(["m", "n", "n"])
        is_there = name in world.client.models
        try:
            if rng.random() < (0.4 if is_there else 0.1):
                world.seen["unloads"] += 1
                await world.client.unload_model(name)
            else:
                world.seen["loads"] += 1
                await world.client.load_model(world.engine_config(name))
        except (StartupError, EngineUnavailable):
            world.seen["loads that failed"] += 1
