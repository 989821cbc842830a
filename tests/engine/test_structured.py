"""Whatever the weights, what is drawn follows the grammar to its end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import torch

from engine.models.registry import resolve
from engine.protocol import SamplingParams
from engine.sampling.sampler import Sampler
from engine.step import RowStart
from engine.structured import calls, grammar
from engine.structured.vetting import fault_of
from engine.structured.vocabulary import UnusableVocabulary, vocabulary_of
from engine.text.tokenizer import Tokenizer
from engine.text.tool_parsers.select import tool_parser_named

CARD = resolve()
VOCABULARY = vocabulary_of(CARD, CARD.vocab_size)
TOKENIZER = Tokenizer.from_folder(Path(CARD.path))
END = CARD.eos_token_ids[0]

SHORT = {"type": "string", "maxLength": 8}
SCHEMAS: list[Any] = [
    {"type": "object"},
    {"type": "object", "properties": {"a": SHORT}, "required": ["a"]},
    {"type": "object", "properties": {"a": SHORT, "b": {"type": "null"}}},
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9}},
    {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 5}, "maxItems": 6},
    {"type": "array", "items": SHORT, "minItems": 2, "maxItems": 2},
    {"type": "array", "prefixItems": [{"type": "boolean"}, SHORT], "items": False, "minItems": 2},
    {"enum": [f"value {n}" for n in range(1000)]},
    {"enum": ["ü", "🌍", "a\"b", "a\nb", 5, None, True]},
    {"const": {"ä": ["🌍", {"x": 1.5}]}},
    {"type": "string", "pattern": "^[a-c]{2,5}-[0-9]+$", "maxLength": 12},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    {"type": ["integer", "null"]},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "null"}, "maxItems": 3}]},
    {"anyOf": [{"type": "object", "properties": {str(k): SHORT}, "required": [str(k)],
                "additionalProperties": False} for k in range(20)]},
    {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "name": SHORT,
                    "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    {"allOf": [{"type": "object", "properties": {"a": SHORT}, "required": ["a"]},
               {"type": "object", "properties": {"b": SHORT}, "required": ["b"]}]},
]  # fmt: skip


def drawn(text: str, *, seed: int, max_tokens: int = 300, temperature: float = 1.5) -> str | None:
    """What random weights say within the grammar; None if they do not come to an end. Ends and
    closing marks are likelier than the rest, so that most do."""
    sampler = Sampler(2, CARD.vocab_size, torch.device("cpu"), VOCABULARY)
    params = SamplingParams(max_tokens, temperature, 1.0, 0, seed, CARD.eos_token_ids, grammar=text)
    sampler.start(RowStart(1, params, 0, [1, 2, 3], 3, scores_prompt=False))
    generator = torch.Generator().manual_seed(seed)
    closing = [END, *(i for mark in '"}],' for i in TOKENIZER.encode(mark))]
    ids: list[int] = []
    while len(ids) < max_tokens:
        logits = torch.randn(1, CARD.vocab_size, generator=generator)
        logits[0, closing] += 3
        (token_id,) = sampler.sample(logits, [1], [3 + len(ids)]).token_ids
        assert token_id is not None
        if token_id == END:
            return TOKENIZER.decode(ids, skip_special_tokens=False)
        ids.append(token_id)
    return None


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
def test_any_weights_give_json_of_the_schema(schema: Any) -> None:
    text = grammar.of_schema(schema)
    assert fault_of(text, VOCABULARY) == ""
    answers = [answer for seed in range(8) if (answer := drawn(text, seed=seed)) is not None]
    assert answers
    for answer in answers:
        jsonschema.validate(json.loads(answer), schema)


@pytest.mark.parametrize("seed", range(5))
def test_other_forms_are_kept_to(seed: int) -> None:
    pattern = r"[a-f]{3}(-\d{1,4})?|🌍+x"
    answer = drawn(grammar.of_regex(pattern), seed=seed)
    assert answer is None or re.fullmatch(pattern, answer)
    choices = ["del\x7f", "yes", "nö", 'a "quoted" one', "back\\slash", "two\nlines"]
    assert drawn(grammar.of_choice(choices), seed=seed) in choices
    lark = drawn(grammar.of_source('start: "a" ("," /[0-9]{2}/)~3'), seed=seed)
    assert lark is not None
    assert re.fullmatch(r"a(,\d\d){3}", lark)
    gbnf = drawn(grammar.of_source('root ::= "x" ("y" | "z")'), seed=seed)
    assert gbnf in ("xy", "xz")


def test_a_sequence_that_is_computed_again_goes_on_where_it_was() -> None:
    text = grammar.of_choice(["abcdef"])
    ids = TOKENIZER.encode("abc")
    sampler = Sampler(2, CARD.vocab_size, torch.device("cpu"), VOCABULARY)
    params = SamplingParams(50, 0.0, 1.0, 0, 0, CARD.eos_token_ids, grammar=text)
    sampler.start(RowStart(0, params, 0, [9, 9, *ids], 2, scores_prompt=False))
    said = list(ids)
    while True:
        logits = torch.zeros(1, CARD.vocab_size)
        (token_id,) = sampler.sample(logits, [0], [2 + len(said)]).token_ids
        if token_id == END:
            break
        assert token_id is not None
        said.append(token_id)
    assert TOKENIZER.decode(said) == "abcdef"


def test_a_grammar_binds_its_own_row_and_only_while_that_row_has_it() -> None:
    sampler = Sampler(3, CARD.vocab_size, torch.device("cpu"), VOCABULARY)
    bound = SamplingParams(9, 0.0, 1.0, 0, 0, grammar=grammar.of_choice(["x"]))
    free = SamplingParams(9, 0.0, 1.0, 0, 0)
    sampler.start(RowStart(0, bound, 0, [1], 1, scores_prompt=False))
    sampler.start(RowStart(1, free, 0, [1], 1, scores_prompt=False))
    logits = torch.zeros(2, CARD.vocab_size)
    logits[:, 77] = 9
    first, second = sampler.sample(logits, [0, 1], [1, 1]).token_ids
    assert (first, second) == (TOKENIZER.encode("x")[0], 77)
    sampler.start(RowStart(0, free, 0, [1], 1, scores_prompt=False))
    assert sampler.sample(logits, [0, 1], [1, 2]).token_ids == [77, 77]


def test_a_grammar_that_allows_nothing_ends_its_row_and_no_other() -> None:
    sampler = Sampler(2, CARD.vocab_size, torch.device("cpu"), VOCABULARY)
    broken = SamplingParams(9, 0.0, 1.0, 0, 0, grammar=grammar.of_regex("("))
    free = SamplingParams(9, 0.0, 1.0, 0, 0)
    for row, params in enumerate((broken, free)):
        sampler.start(RowStart(row, params, 0, [1], 1, scores_prompt=False))
    first, second = sampler.sample(torch.zeros(2, CARD.vocab_size), [0, 1], [1, 1]).token_ids
    assert first is None
    assert second is not None


@pytest.mark.parametrize(
    "text",
    [
        grammar.of_schema({"type": "strin"}),
        grammar.of_schema({"not": {"type": "string"}}),
        grammar.of_schema({"$ref": "http://example.com/x.json"}),
        grammar.of_schema({"$ref": "#/nowhere"}),
        grammar.of_schema({"type": "array", "minItems": 5, "maxItems": 2}),
        grammar.of_regex("("),
        grammar.of_regex("(?<=a)b"),
        grammar.of_source("start: undefined"),
    ],
)
def test_what_cannot_be_kept_is_refused_also_after_something_good(text: str) -> None:
    assert fault_of(grammar.of_choice(["good"]), VOCABULARY) == ""
    assert fault_of(text, VOCABULARY)
    assert fault_of(grammar.of_choice(["good"]), VOCABULARY) == ""


def test_thousands_of_grammars_leave_memory_flat() -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    sampler = Sampler(1, CARD.vocab_size, torch.device("cpu"), VOCABULARY)

    def use(number: int) -> None:
        schema = {"type": "object", "properties": {f"p{number}": SHORT}}
        params = SamplingParams(9, 0.0, 1.0, 0, 0, grammar=grammar.of_schema(schema))
        sampler.start(RowStart(0, params, 0, [1], 1, scores_prompt=False))
        sampler.sample(torch.zeros(1, CARD.vocab_size), [0], [1])

    for number in range(300):
        use(number)
    before = resident()
    for number in range(300, 2300):
        use(number)
    assert resident() - before < 32 << 20


def test_masks_name_exactly_the_width_of_the_logits() -> None:
    wide = vocabulary_of(CARD, CARD.vocab_size + 70)  # padded weights have more rows than tokens
    sampler = Sampler(1, CARD.vocab_size + 70, torch.device("cpu"), wide)
    params = SamplingParams(9, 0.0, 1.0, 0, 0, grammar=grammar.of_choice(["x"]))
    sampler.start(RowStart(0, params, 0, [1], 1, scores_prompt=False))
    logits = torch.zeros(1, CARD.vocab_size + 70)
    logits[0, CARD.vocab_size + 5] = 50
    assert sampler.sample(logits, [0], [1]).token_ids == TOKENIZER.encode("x")
    assert logits.isfinite().all()


@pytest.mark.parametrize("text", ["<|im_end|>", "<tool_call>", "a<|im_start|>b", "<think>"])
def test_the_text_of_a_control_token_is_written_out(text: str) -> None:
    control = {token_id for token_id, t in TOKENIZER.added_tokens.items() if t.special}
    for form in (grammar.of_choice([text]), grammar.of_schema({"const": text})):
        sampler = Sampler(1, CARD.vocab_size, torch.device("cpu"), VOCABULARY)
        params = SamplingParams(50, 0.0, 1.0, 0, 0, CARD.eos_token_ids, grammar=form)
        sampler.start(RowStart(0, params, 0, [9], 1, scores_prompt=False))
        ids: list[int] = []
        while END not in ids:
            (token_id,) = sampler.sample(
                torch.zeros(1, CARD.vocab_size), [0], [1 + len(ids)]
            ).token_ids
            assert token_id is not None
            ids.append(token_id)
        assert not control & set(ids[:-1])
        assert TOKENIZER.decode(ids[:-1]).strip('"') == text


def test_a_client_cannot_loosen_the_library() -> None:
    loose = {"not": {"type": "string"}, "x-guidance": {"lenient": True}}
    assert fault_of(grammar.of_schema(loose), VOCABULARY)
    assert fault_of(grammar.of_schema({"items": loose, "type": "array"}), VOCABULARY)
    data = {"const": {"x-guidance": 5}}
    assert drawn(grammar.of_schema(data), seed=0) == '{"x-guidance": 5}'
    for source in (
        'start: %json {"x\\u002dguidance": {}}',
        '%llguidance {}\nstart: "a"',
        ' {"grammars": []}',
        'start: %json {"x-guidance": {}}',
    ):
        with pytest.raises(grammar.BadGrammar):
            grammar.of_source(source)
    control = next(
        i for i, token in TOKENIZER.added_tokens.items() if token.content == "<|im_start|>"
    )
    assert fault_of(grammar.of_source(f"start: <[{control}]>"), VOCABULARY)


def test_references_of_a_functions_parameters_are_to_their_own_root() -> None:
    schema = {
        "$defs": {"more": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "properties": {"next": {"$ref": "#/$defs/more"}},
        "required": ["next"],
        "additionalProperties": False,
    }
    declared = {"f": grammar.arguments_of(schema)}
    form = calls.CallForm(tool_parser_named("hermes").shape(""))
    text = calls.of_calls(form, declared, is_one_call=True)
    assert fault_of(text, VOCABULARY) == ""
    for seed in range(6):
        answer = drawn(text, seed=seed)
        if answer is not None:
            call = json.loads(answer.removeprefix("<tool_call>").removesuffix("</tool_call>"))
            jsonschema.validate(call["arguments"], {"type": "object", **schema})


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": ["null", "string"]}])
def test_arguments_that_can_be_no_object_are_refused(schema: dict[str, object]) -> None:
    with pytest.raises(grammar.BadGrammar):
        grammar.arguments_of(schema)


def test_arguments_that_may_be_an_object_are_one() -> None:
    assert grammar.arguments_of({"type": ["object", "null"]}) == {"type": "object"}
    assert grammar.arguments_of({"$ref": "#/$defs/x"})["type"] == "object"


def test_bounds_beyond_all_counting_become_the_widest_there_are() -> None:
    wide = grammar.of_schema({"type": "integer", "minimum": -(10**400), "exclusiveMaximum": 1e300})
    assert wide == grammar.of_schema(
        {"type": "integer", "minimum": 1 - 2**53, "maximum": 2**53 - 1}
    )
    with pytest.raises(grammar.BadGrammar):
        grammar.of_schema({"type": "integer", "minimum": 2**53})


def changed_tokenizer(folder: Path, change: Any) -> Path:
    """The embedded tokenizer's file, changed."""
    file = json.loads((Path(CARD.path) / "tokenizer.json").read_text())
    change(file)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(file))
    return path


def test_special_tokens_may_stand_among_the_models_own(tmp_path: Path) -> None:
    def repeat(file: Any) -> None:
        file["model"]["vocab"] |= {t["content"]: t["id"] for t in file["added_tokens"]}

    path = changed_tokenizer(tmp_path, repeat)
    vocabulary = msgspec.structs.replace(VOCABULARY, tokenizer_file=str(path))
    assert fault_of(grammar.of_choice(["<|im_end|>", "no"]), vocabulary) == ""


@pytest.mark.parametrize("num_rows", [CARD.vocab_size - 3, CARD.vocab_size + 64])
def test_weights_may_have_another_number_of_rows_than_there_are_tokens(num_rows: int) -> None:
    ends = (CARD.vocab_size - 4, CARD.vocab_size + 100)  # the second is out of range
    vocabulary = vocabulary_of(msgspec.structs.replace(CARD, eos_token_ids=ends), num_rows)
    opened = vocabulary.open()
    (allowed,) = opened.allowed([opened.matcher(grammar.of_choice(["x"]))])
    assert allowed.shape == (num_rows,)
    assert fault_of(grammar.of_choice(["x"]), vocabulary) == ""


def test_a_vocabulary_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    def words(file: Any) -> None:
        file["model"] = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
        file["decoder"] = None

    path = changed_tokenizer(tmp_path, words)
    for vocabulary in (
        msgspec.structs.replace(VOCABULARY, tokenizer_file=str(path)),
        msgspec.structs.replace(VOCABULARY, eos_token_ids=(CARD.vocab_size,)),
    ):
        with pytest.raises(UnusableVocabulary):
            vocabulary.open()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("start: foo", 'line 1, column 8: unknown name: "foo"'),
        ("start: a\na: /b", "line 3, column 1: it cannot be read from there on"),
        ("start: <|im_end|>", 'line 1, column 8: unknown special token: "<|im_end|>"'),
        ("start: /(/", 'unclosed group in "("'),
        ('start: %json {"type": "foo"}', "Invalid type: foo"),
        ('start: %json {"pattern": "("}', "regex parse error: unclosed group"),
    ],
)
def test_a_refusal_of_a_grammar_is_in_words_of_its_author(source: str, reason: str) -> None:
    assert fault_of(grammar.of_source(source), VOCABULARY) == reason


def test_of_a_regular_expression_no_line_of_ours_is_told() -> None:
    for fault in (
        fault_of(grammar.of_regex("a("), VOCABULARY),
        fault_of(grammar.of_regex("a(", unlike="<tool_call>"), VOCABULARY),
    ):
        assert fault == 'unclosed group in "a("'
    assert fault_of(grammar.of_regex("((((a{1,99}){1,99}){1,99}){1,99}){99}"), VOCABULARY) == (
        "it is too complex"
    )
