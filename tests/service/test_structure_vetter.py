"""A grammar that kills its worker harms nobody else, and no verdict is taken from a dead one."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from engine.models.registry import resolve
from engine.structured import grammar
from engine.structured.vocabulary import vocabulary_of
from service.errors import BadRequest, NotSupported, Overloaded
from service.structure import Structure
from service.structure_vetter import MAX_WAITING, StructureVetter

CARD = resolve()
VOCABULARY = vocabulary_of(CARD, CARD.vocab_size)
MULTIPLES = {"type": "integer", "multipleOf": 999983}
BOMB = Structure(grammar.of_schema(MULTIPLES), "bomb")
BROKEN = Structure(grammar.of_regex("("), "broken")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def good(number: int) -> Structure:
    return Structure(grammar.of_choice([f"text {number}"]), "good")


async def test_good_ones_are_found_good_beside_one_that_never_ends() -> None:
    vetter = StructureVetter(max_vet_s=1.5)
    refusals: list[str | None] = []

    async def check_bomb() -> None:
        with pytest.raises(BadRequest) as refused:
            await vetter.check(BOMB, VOCABULARY)
        refusals.append(refused.value.param)

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(vetter.check, good(number), VOCABULARY)
                if number % 3 == 1:
                    tasks.start_soon(check_bomb)
        assert refusals == ["bomb", "bomb"]
        await vetter.check(good(0), VOCABULARY)


async def test_whoever_gives_up_leaves_a_vetter_that_works() -> None:
    vetter = StructureVetter(max_vet_s=1.5)
    await vetter.check(good(0), VOCABULARY)
    with anyio.move_on_after(0.3) as scope:
        await vetter.check(BOMB, VOCABULARY)
    assert scope.cancelled_caught
    with anyio.fail_after(50):
        await vetter.check(good(1), VOCABULARY)
        with pytest.raises(BadRequest, match="unclosed group"):
            await vetter.check(BROKEN, VOCABULARY)


async def test_too_many_at_once_are_told_to_come_back() -> None:
    vetter = StructureVetter()
    refusals: list[Overloaded] = []
    num_good = 0

    async def check(number: int) -> None:
        nonlocal num_good
        try:
            await vetter.check(good(number), VOCABULARY)
        except Overloaded as refusal:
            refusals.append(refusal)
        else:
            num_good += 1

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            for number in range(MAX_WAITING + 5):
                tasks.start_soon(check, number)
    assert num_good == MAX_WAITING
    assert [refusal.headers["retry-after"] for refusal in refusals] == ["1"] * 5


async def test_what_is_known_does_not_wait_and_a_killer_is_not_tried_twice() -> None:
    vetter = StructureVetter(max_vet_s=1.5)
    await vetter.check(good(0), VOCABULARY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refuse_bomb, vetter)
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(0.5):
            await vetter.check(good(0), VOCABULARY)
        tasks.start_soon(refuse_bomb, vetter)
    with anyio.fail_after(0.5):
        await refuse_bomb(vetter)


async def refuse_bomb(vetter: StructureVetter) -> None:
    with pytest.raises(BadRequest):
        await vetter.check(BOMB, VOCABULARY)


def part(param: str, schema: dict[str, object]) -> tuple[str, str]:
    return param, grammar.of_schema(schema)


async def test_of_a_whole_the_part_at_fault_is_named_with_the_place_in_it() -> None:
    parts = (
        part("first", {"type": "integer"}),
        part("second", {"properties": {"a": {"items": {"pattern": "("}}}}),
        part("third", {"not": {}}),
    )
    vetter = StructureVetter()
    structure = msgspec.structs.replace(BROKEN, parts=parts)
    for _ in range(2):
        with pytest.raises(BadRequest, match="#/properties/a/items: ") as refused:
            await vetter.check(structure, VOCABULARY)
        assert refused.value.param == "second"
    await vetter.check(msgspec.structs.replace(good(0), parts=parts), VOCABULARY)
    with pytest.raises(BadRequest) as refused:
        await vetter.check(msgspec.structs.replace(BROKEN, parts=parts[:1]), VOCABULARY)
    assert refused.value.param == "broken"


async def test_what_takes_too_long_is_not_looked_at_by_its_parts() -> None:
    vetter = StructureVetter(max_vet_s=1.5)
    parts = ((BOMB.param, BOMB.grammar),)
    whole = Structure(grammar.of_schema({"items": MULTIPLES}), "whole", parts=parts)
    with anyio.fail_after(50), pytest.raises(BadRequest) as refused:
        await vetter.check(whole, VOCABULARY)
    assert refused.value.param == "whole"


async def test_a_model_whose_answers_can_have_no_form_says_so() -> None:
    without_end = msgspec.structs.replace(VOCABULARY, eos_token_ids=())
    vetter = StructureVetter()
    with anyio.fail_after(50), pytest.raises(NotSupported) as refused:
        await vetter.check(good(0), without_end)
    assert refused.value.param == "good"
    await vetter.check(good(0), VOCABULARY)
