"""Schemas of the breadth of real ones: each is refused with a reason that helps, or kept to by every
answer whatever the weights.

`tests/data/schemas/breadth.jsonl` says which are refused, so that a change of the library shows up,
and texts that must `never` be an answer. The tools of real clients are taken along.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.validators import validator_for

from engine.models.registry import resolve
from engine.protocol import SamplingParams
from engine.sampling.sampler import Sampler
from engine.step import RowStart
from engine.structured import grammar
from engine.structured.vetting import fault_of
from engine.structured.vocabulary import OpenVocabulary, vocabulary_of
from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

CARD = resolve()
VOCABULARY = vocabulary_of(CARD, CARD.vocab_size)
TOKENIZER = Tokenizer.from_folder(Path(CARD.path))
END = CARD.eos_token_ids[0]
CLOSING = [END, *(i for mark in '"}],' for i in TOKENIZER.encode(mark))]
DATA = Path(__file__).parents[1] / "data"
MAX_TOKENS = 80
TEMPERATURES = (0.0, 1.5, 1.5)
FORMATS = FormatChecker(["email", "ipv4", "ipv6", "uuid"])
"""No dates: the library has a 29th of February in each year."""


def records() -> list[dict[str, Any]]:
    """Those of the file, then the parameters and answers that clients ask for."""
    lines = (DATA / "schemas" / "breadth.jsonl").read_text().split("\n")
    found: dict[str, Any] = {}
    for path in sorted((DATA / "clients").glob("*.json")):
        body = json.loads(path.read_text())["body"]
        for tool in body.get("tools") or []:
            name, schema = tool["function"]["name"], tool["function"].get("parameters")
            found.setdefault(json.dumps(schema), {"name": f"tool: {name}", "schema": schema})
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        found.setdefault(json.dumps(schema), {"name": f"answer: {path.stem}", "schema": schema})
    return [json.loads(line) for line in lines if line] + [r for r in found.values() if r["schema"]]


RECORDS = records()
KEPT = [record for record in RECORDS if "refused" not in record]
REFUSED = [record for record in RECORDS if "refused" in record]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More of torch's only get in each other's way where steps are as small as these."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    """One for all: opening the vocabulary costs more than many answers."""
    return Sampler(len(TEMPERATURES), CARD.vocab_size, torch.device("cpu"), VOCABULARY)


@pytest.fixture(scope="module")
def opened() -> OpenVocabulary:
    return VOCABULARY.open()


def answers_of(sampler: Sampler, text: str) -> list[tuple[str, bool]]:
    """What random weights say, by each of the temperatures, and whether they come to an end. Ends
    and closing marks are likelier than the rest, so that most do."""
    said: list[list[int]] = []
    for row, temperature in enumerate(TEMPERATURES):
        params = SamplingParams(
            MAX_TOKENS, temperature, 1.0, 0, row, CARD.eos_token_ids, grammar=text
        )
        sampler.start(RowStart(row, params, 0, [1], 1, scores_prompt=False))
        said.append([])
    generator = torch.Generator().manual_seed(0)
    while rows := [r for r, ids in enumerate(said) if END not in ids and len(ids) < MAX_TOKENS]:
        logits = torch.randn(len(rows), CARD.vocab_size, generator=generator)
        logits[:, CLOSING] += 3
        drawn = sampler.sample(logits, rows, [1 + len(said[row]) for row in rows]).token_ids
        forced = sampler.force(np.array(rows))
        for index, (row, token_id) in enumerate(zip(rows, drawn, strict=True)):
            assert token_id is not None
            said[row] += [token_id, *forced.get(index, [])]
    return [
        (TOKENIZER.decode([i for i in ids if i != END], skip_special_tokens=False), END in ids)
        for ids in said
    ]


def exact(text: str) -> Any:
    """JSON whose fractions are what they look like."""
    return json.loads(text, parse_float=Decimal)


def name_of(record: dict[str, Any]) -> str:
    return str(record["name"])


@pytest.mark.parametrize("record", KEPT, ids=name_of)
def test_every_answer_follows_its_schema(record: dict[str, Any], sampler: Sampler) -> None:
    schema = exact(json.dumps(record["schema"]))
    text = grammar.of_schema(record["schema"])
    assert fault_of(text, VOCABULARY) == ""
    judge = validator_for(schema, default=Draft202012Validator)(schema, format_checker=FORMATS)
    for answer, is_over in answers_of(sampler, text):
        if is_over:
            judge.validate(exact(answer))
        else:  # cut, perhaps in the middle of a character
            assert "\ufffd" not in answer.rstrip("\ufffd")


@pytest.mark.parametrize("record", [r for r in KEPT if "never" in r], ids=name_of)
def test_what_the_schema_forbids_cannot_be_said(
    record: dict[str, Any], opened: OpenVocabulary
) -> None:
    text = grammar.of_schema(record["schema"])
    for answer in record["never"]:
        matcher = opened.matcher(text)
        token_ids = TOKENIZER.encode(answer)
        is_possible = matcher.validate_tokens(token_ids) == len(token_ids)
        if is_possible:
            matcher.consume_tokens(token_ids)
            is_possible = matcher.is_accepting()
        assert not is_possible, answer


@pytest.mark.parametrize("record", REFUSED, ids=name_of)
def test_the_others_are_refused_with_a_reason_in_one_line(record: dict[str, Any]) -> None:
    reason = reason_of(record["schema"])
    assert reason
    assert "\n" not in reason
    for of_the_library in ("coerce_one_of", "NoExtension", "registry", "verbose"):
        assert of_the_library not in reason


def reason_of(schema: dict[str, Any]) -> str:
    """Why it is refused; "" if it is not."""
    try:
        return fault_of(grammar.of_schema(schema), VOCABULARY)
    except grammar.BadGrammar as error:
        return str(error)


def test_there_are_schemas_enough() -> None:
    assert len(RECORDS) >= 350
    assert len(REFUSED) >= 70
    names = [record["name"] for record in RECORDS if ":" not in record["name"]]
    assert len(names) == len(set(names))


INTEGER = {"type": "integer"}
MANY = {f"p{number}": INTEGER for number in range(400)}


@pytest.mark.parametrize(
    ("schema", "place", "word"),
    [
        ({"properties": {"a": {"format": "nonsense"}}}, "#/properties/a", "nonsense"),
        ({"properties": {"a/b": {"items": {"not": {}}}}}, "#/properties/a~1b/items", "not"),
        ({"prefixItems": [INTEGER, {"type": "strin"}]}, "#/prefixItems/1", "strin"),
        ({"properties": {**MANY, "z": {"if": {}}}}, "#/properties/z", "if"),
        ({"properties": {"a": {"pattern": "("}}}, "#/properties/a", "unclosed group"),
        ({"properties": {"a": {"items": {"$ref": "#/no"}}}}, "#/properties/a/items", "/no"),
        (
            {"properties": {"b": INTEGER, "a": {"$ref": "http://a/b"}}},
            "#/properties/a",
            "http://a/b",
        ),
        (
            {"$defs": {"x": {"anyOf": [INTEGER, {"not": {}}]}}, "items": {"$ref": "#/$defs/x"}},
            "#/$defs/x/anyOf/1",
            "not",
        ),
        (
            {"properties": {"a": {"allOf": [{"oneOf": [INTEGER, INTEGER]}]}}},
            "#/properties/a/allOf/0",
            "anyOf",
        ),
        ({"properties": {"a": {"minimum": 2**60}}}, "#/properties/a/minimum", "digits"),
        ({"items": {"enum": [1, {"x": 2**53}]}}, "#/items/enum", "digits"),
        ({"items": {"type": "integer", "enum": [1, 1e20]}}, "#/items/enum", "digits"),
        ({"allOf": [{"const": 1e22}, {"type": ["integer"]}]}, "#/allOf/0/const", "digits"),
        ({"items": {"format": []}}, "#/items", "format"),
        ({"items": {"const": {"a": ["x\0y"]}}}, "#/items/const", "control"),
        ({"items": {"pattern": r"x\x01?y"}}, "#/items/pattern", "control"),
        ({"items": {"minProperties": 2}}, "#/items/minProperties", "required"),
    ],
)
def test_a_refusal_names_the_place(schema: dict[str, Any], place: str, word: str) -> None:
    reason = reason_of(schema)
    assert reason.startswith(f"{place}: ")
    assert word in reason


def test_a_long_place_leaves_room_for_the_reason() -> None:
    schema: dict[str, Any] = {"not": {}}
    for _ in range(30):
        schema = {"type": "object", "properties": {"inner": schema}}
    place, reason = reason_of(schema).split(": ", 1)
    assert place.startswith("…")
    assert len(place) < 120
    assert '"not"' in reason


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "[" * 60_000},
        {"pattern": r"[\x01" * 12_000},
        {"pattern": "[-" * 30_000},
        {"pattern": r"\x{0" * 15_000},
        {"const": [[n % 10] for n in range(16_000)]},
        {"anyOf": [{"minimum": 5}] * 4_000},
        {"x": [{}] * 20_000},
        {"n" * 2_000: {"m" * 2_000: {"x": [{"y": {}}] * 6_000}}},
    ],
    ids=lambda schema: str(schema)[:20],
)
def test_no_schema_costs_more_than_its_length(schema: dict[str, Any]) -> None:
    def seconds() -> float:
        begun_s = time.thread_time()
        with suppress(grammar.BadGrammar):
            grammar.of_schema(schema)
        return time.thread_time() - begun_s

    assert any(seconds() < 0.25 for _ in range(3))


@pytest.mark.parametrize("more", [{}, {"additionalProperties": INTEGER}])
def test_as_many_properties_as_a_schema_may_have_may_all_be_left_out(more: dict[str, Any]) -> None:
    names = {f"property {n}": {"type": ["string", "null"]} for n in range(500)}
    assert reason_of({"type": "object", "properties": names, **more}) == ""
