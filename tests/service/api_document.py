"""The API's document in tests: validators of its schemas, and a judge of whole answers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
from jsonschema import Draft202012Validator

from service.openapi.document import Facts, document_of
from service.openapi.operations import OPERATIONS
from service.request_limits import RequestLimits

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]


@functools.cache
def document(
    limits: RequestLimits | None = None, *, is_lenient: bool = False, needs_key: bool = False
) -> Json:
    """What a client reads: through JSON and back."""
    facts = Facts(
        version="1.0",
        model="kvorum-mini",
        limits=limits or RequestLimits(),
        is_lenient=is_lenient,
        needs_key=needs_key,
    )
    found: Json = msgspec.json.decode(msgspec.json.encode(document_of(OPERATIONS, facts)))
    return found


def validator(name: str, found: Json | None = None) -> Draft202012Validator:
    """Of the component of that name."""
    return validator_of({"$ref": f"#/components/schemas/{name}"}, found or document())


def validator_of(schema: Json, found: Json) -> Draft202012Validator:
    """Of a schema within the document."""
    return Draft202012Validator({**schema, "components": found["components"]})


def operation_of(found: Json, method: str, path: str) -> Json:
    """The operation for a request, whatever model its path names."""
    parts = path.split("/")
    for template, operations in found["paths"].items():
        expected = template.split("/")
        if len(expected) == len(parts) and all(
            each == given or each.startswith("{")
            for each, given in zip(expected, parts, strict=True)
        ):
            operation: Json = operations[method.lower()]
            return operation
    raise AssertionError(f"{path} is not in the document")


def check(response: httpx.Response, found: Json | None = None) -> None:
    """An answer must be what the document says: its status, media type, headers and body."""
    found = found or document()
    request = response.request
    operation = operation_of(found, request.method, request.url.path)
    told = operation["responses"][str(response.status_code)]
    for name in set(response.headers) & set(found["components"]["headers"]):
        assert name in told["headers"], name
    if "content" not in told:
        assert not response.content
        return
    media_type = response.headers["content-type"].partition(";")[0]
    schema = told["content"][media_type]["schema"]
    if media_type == "text/event-stream":
        check_events(response.text, schema, found)
    elif media_type == "application/json":
        validator_of(schema, found).validate(response.json())
    else:
        validator_of(schema, found).validate(response.text)


def check_events(text: str, schema: Json, found: Json) -> None:
    """Each event of a stream must be one of those that are told of, and only the last `[DONE]`."""
    *events, end = text.split("\n\n")
    assert end == ""
    data = [event.removeprefix("data: ") for event in events if not event.startswith(":")]
    assert "[DONE]" not in data[:-1]
    encoded, done = schema["properties"]["data"]["anyOf"]
    assert done == {"const": "[DONE]"}
    chunks = validator_of(encoded["contentSchema"], found)
    for each in data:
        validator_of(schema, found).validate({"data": each})
        if each != "[DONE]":
            chunks.validate(msgspec.json.decode(each))
