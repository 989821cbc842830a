"""JSON Schema for what several rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.openapi.rule import Json
    from service.request_limits import RequestLimits

NULL: Final[Json] = {"type": "null"}
NOT_TRUE: Final[Json] = {"enum": [False, None]}


def has(field: str, schema: Json) -> Json:
    """An object that has this field, and such a value."""
    return {"required": [field], "properties": {field: schema}}


def when(condition: Json, consequence: Json) -> Json:
    """What must be of whatever is so."""
    return {"if": condition, "then": consequence}


def at_most_one(types: dict[str, list[str]]) -> list[Json]:
    """For `allOf`: of these fields and their types none is set, or one. Said without `not` and
    `oneOf`, which tools that make requests of a document do not all understand."""
    fields = list(types)
    return [
        when(
            has(field, {"type": types[field]}),
            {"properties": dict.fromkeys(fields[at + 1 :], NULL)},
        )
        for at, field in enumerate(fields[:-1])
    ]


def drawing_bounds(limits: RequestLimits) -> dict[str, Json]:
    """Of the fields that say how answers are drawn and where they end."""
    stop = {"type": "string", "minLength": 1, "maxLength": limits.max_stop_chars}
    stops = {"type": "array", "items": stop, "maxItems": limits.max_stop_strings}
    return {
        "n": {"maximum": limits.max_choices},
        "logit_bias": {
            "maxProperties": limits.max_logit_bias,
            "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        },
        "stop": {"anyOf": [stop, stops, NULL]},
    }


def only_with_stream() -> Json:
    """`stream_options` without `stream` is refused."""
    return when(has("stream_options", {"type": "object"}), has("stream", {"const": True}))
