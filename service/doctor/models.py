"""The models: are they there, whole and served, what do their texts look like, do they fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from engine.models.families import TESTED
from engine.models.model_folder import ModelFolder
from engine.text.errors import TextError
from service.doctor.finding import Finding, note, of_error, ok, problem
from service.models_table import size_text
from service.served_model import load_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.models.card import ModelCard
    from service.doctor.torch_facts import Placement
    from service.settings import ModelEntry

SUBJECT = "model"

_HELLO = [{"role": "user", "content": "Hello"}]


def names(models: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Finding]:
    """A problem for each name or alias that two models have."""
    counts = Counter(name for first, aliases in models for name in {first, *aliases})
    for name in sorted(name for name, count in counts.items() if count > 1):
        yield problem(SUBJECT, f"two models are named {name}", "give one another (NAME=MODEL)")


def folder(card: ModelCard) -> Iterator[Finding]:
    """What its files say; that there is a card means that they are whole."""
    form = f"{card.quantization} ({card.dtype})" if card.quantization else card.dtype
    yield ok(
        SUBJECT,
        f"{card.name}: {card.architecture}, {size_text(card.size_bytes)} in {form}, context "
        f"{card.max_model_len:,} ({card.path})",
    )
    if card.model_type not in TESTED:
        yield note(
            SUBJECT,
            f"{card.name} is of the family {card.model_type}, which Kvorum is not tested with",
            "see docs/models.md, and compare its answers with transformers'",
        )
    if not card.eos_token_ids:
        yield note(
            SUBJECT,
            f"{card.name} names no token that ends an answer: answers run up to max_tokens",
            "add eos_token_id to its generation_config.json",
        )


def text(card: ModelCard, entry: ModelEntry) -> Iterator[Finding]:
    """Its tokenizer and chat template, and the forms of calls and reasoning."""
    try:
        model = load_text(
            card,
            tool_call_parser=entry.tool_call_parser or "auto",
            reasoning_parser=entry.reasoning_parser or "auto",
        )
    except TextError as error:
        yield of_error(SUBJECT, error, f"mend it in {card.path}, or download the model again")
        return
    num_tokens = len(model.encoder.encode(_HELLO))
    calls = model.tool_format.name if model.tool_format else "none"
    reasoning = model.reasoning.name if model.reasoning else "none"
    yield ok(
        SUBJECT,
        f"{card.name}: its template makes {num_tokens} tokens of a greeting; form of tool calls: "
        f"{calls}, of reasoning: {reasoning}",
    )


def memory(card: ModelCard, placement: Placement, room: int | None) -> Finding:
    """Whether weights and one full context fit; `room` is what the container leaves."""
    if placement.fault:
        return of_error(SUBJECT, ValueError(f"{card.name}: {placement.fault}"))
    config = ModelFolder(Path(card.path)).read_json("config.json")
    context_bytes = card.max_model_len * bytes_per_token(config, placement.dtype)
    free_bytes = placement.free_bytes
    if placement.device == "cpu" and room is not None:
        free_bytes = min(free_bytes, room)
    weights = size_text(placement.weight_bytes)
    facts = (
        f"{card.name}: {weights} of weights as {placement.dtype}"
        + (f" and {size_text(context_bytes)} for a full context" if context_bytes else "")
        + f"; {size_text(free_bytes)} free on {placement.device}"
    )
    if placement.weight_bytes > free_bytes:
        remedy = "free memory, or take a smaller model or --dtype bfloat16"
        return problem("memory", f"{facts}: the weights do not fit", remedy)
    if placement.weight_bytes + context_bytes > free_bytes:
        remedy = "lower --max-model-len, or free memory"
        return note("memory", f"{facts}: the context will be shorter", remedy)
    return ok("memory", facts)


def bytes_per_token(config: Mapping[str, object], dtype: str) -> int:
    """What a token takes in the cache, by config.json; 0 if it does not say. Windows and shared
    layers make it less."""
    inner = config.get("text_config")
    layers = {**config, **inner} if isinstance(inner, dict) else dict(config)
    num_layers = _size(layers, "num_hidden_layers", "n_layer")
    num_heads = _size(layers, "num_attention_heads", "n_head")
    num_kv_heads = _size(layers, "num_key_value_heads") or num_heads
    width = _size(layers, "hidden_size", "n_embd")
    head_dim = _size(layers, "head_dim") or (width // num_heads if num_heads else 0)
    return 2 * num_layers * num_kv_heads * head_dim * (4 if dtype == "float32" else 2)


def _size(config: Mapping[str, object], *keys: str) -> int:
    values = [config.get(key) for key in keys]
    return next((value for value in values if isinstance(value, int) and value > 0), 0)
