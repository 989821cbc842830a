"""The document: operations, their bodies and all that may be answered, as OpenAPI 3.1.

Pure but for the docstrings, which it reads from the sources. Middleware and the HTTP layer answer
some requests before any route: what they say is added here, to each operation it may meet.
"""

from __future__ import annotations

import re
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from service import errors
from service.middleware.auth import OPEN_PATHS
from service.openapi.field_docs import plain
from service.openapi.operation import EVENTS, JSON
from service.openapi.operations import TAGS
from service.openapi.rules import REFUSED_STRUCTS, rules_of
from service.openapi.schemas import Schemas
from service.request_limits import RequestLimits
from service.schemas.error import ErrorBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from service.openapi.operation import Answer, Operation
    from service.openapi.rule import Json

HEADERS: Final = {
    "x-request-id": "The request's own if it is up to 128 visible ASCII characters, else ours; it "
    "is in every log line.",
    "x-trace-id": "The trace: the caller's if it sent `traceparent`.",
    "openai-processing-ms": "Milliseconds until the status line.",
    "warning": 'What has had no effect: `299 kvorum "without effect: …"`.',
    "retry-after": "Seconds after which it is worth trying again.",
    "x-should-retry": "`false`: the same request would fail again.",
    "www-authenticate": "`Bearer`.",
    "etag": "What `if-none-match` takes.",
}
_ALWAYS: Final = ("x-request-id", "x-trace-id", "openai-processing-ms")

PARAMETERS: Final = {
    "x-request-id": "Up to 128 visible ASCII characters, to come back and to be in every log line.",
    "traceparent": "The W3C trace that the request's spans shall join.",
}
PATH_PARAMETERS: Final = {"model": "An id of `/v1/models`, or an alias; it may contain slashes."}

DESCRIPTION: Final = """OpenAI's API and what users of other self-hosted servers know.

Every error has the form of `ErrorBody`. A field that is not known is {unknown}; a wrong type, a
number out of its range or fields that do not go together are a 422 whose `param` is the field's
path. A JSON body has at most {max_body_bytes} bytes (else 413) and {max_nesting} levels (else 400).
A HEAD request is answered like GET, without the body."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says of one server: its settings, and the model of the examples."""

    version: str
    model: str
    limits: RequestLimits = RequestLimits()
    max_body_bytes: int = 4 * 2**20
    max_nesting: int = 64
    is_lenient: bool = False
    needs_key: bool = False


def document_of(operations: Sequence[Operation], facts: Facts) -> Json:
    """The document of a server that has these operations."""
    requests = [o.request for o in operations if o.request is not None]
    answers = [a.body for o in operations for a in o.answers if a.body is not None]
    schemas = Schemas(
        requests,
        [*answers, ErrorBody],
        rules_of(facts.limits),
        hidden=REFUSED_STRUCTS,
        is_lenient=facts.is_lenient,
    )
    writer = _Writer(schemas, facts)
    paths: defaultdict[str, Json] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = writer.operation(operation)
    tags = [tag for tag in TAGS if any(o.tag == tag for o in operations)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kvorum",
            "version": facts.version,
            "summary": "Serves language models behind an OpenAI-compatible API.",
            "description": _description(facts),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "parameters": {name: _parameter(name, text) for name, text in PARAMETERS.items()},
            "headers": {name: _header(text) for name, text in HEADERS.items()},
        }
        | ({"securitySchemes": {"key": _KEY}} if facts.needs_key else {}),
    } | ({"security": [{"key": []}]} if facts.needs_key else {})


_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The server's API key, as `Authorization: Bearer …`.",
}


class _Writer:
    """Writes operations."""

    def __init__(self, schemas: Schemas, facts: Facts) -> None:
        self._schemas = schemas
        self._facts = facts

    def operation(self, operation: Operation) -> Json:
        """One operation."""
        found: Json = {
            "operationId": operation.name,
            "tags": [operation.tag],
            "summary": operation.summary,
            "parameters": [*self._path_parameters(operation.path), *_PARAMETER_REFS],
            "responses": self._responses(operation),
        }
        if operation.description:
            found["description"] = operation.description
        if operation.request is not None:
            found["requestBody"] = self._body(operation, operation.request)
        if self._facts.needs_key and operation.path in OPEN_PATHS:
            found["security"] = []
        if operation.sdk is not None:
            found["x-openai-client"] = operation.sdk
        return found

    def _path_parameters(self, path: str) -> list[Json]:
        return [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": PATH_PARAMETERS[name],
                "schema": {"type": "string", "minLength": 1},
                "example": self._facts.model,
            }
            for name in re.findall(r"{(\w+)}", path)
        ]

    def _body(self, operation: Operation, request: type[msgspec.Struct]) -> Json:
        content: Json = {"schema": self._schemas.ref(request)}
        if operation.example is not None:
            has_model = "model" in request.__struct_fields__
            model = {"model": self._facts.model} if has_model else {}
            content["example"] = model | operation.example
        return {"required": not operation.may_lack_body, "content": {JSON: content}}

    def _responses(self, operation: Operation) -> Json:
        responses: defaultdict[int, Json] = defaultdict(dict)
        for answer in operation.answers:
            response = responses[answer.status]
            known = [response["description"]] if response else []
            response["description"] = " ".join([*known, answer.description])
            response["headers"] = _headers((*_ALWAYS, *answer.headers))
            if answer.media_type is not None:
                content = response.setdefault("content", {})
                content[answer.media_type] = {"schema": self._schema(answer)}
        for status, faults in _by_status(self._faults(operation)).items():
            if responses[status]:  # a probe's own "not now"
                continue
            names = sorted({name for fault in faults for name in fault.default_headers})
            is_traced = errors.HeadersTooLarge not in faults
            responses[status] = {
                "description": " ".join(_said(fault) for fault in faults),
                "headers": _headers((*(_ALWAYS if is_traced else ()), *names)),
                "content": {JSON: {"schema": self._schemas.ref(ErrorBody)}},
            }
        return {str(status): responses[status] for status in sorted(responses)}

    def _schema(self, answer: Answer) -> Json:
        if answer.media_type == EVENTS:
            assert answer.body is not None
            return self._event(answer.body)
        if answer.body is not None:
            return self._schemas.ref(answer.body)
        return {"type": "object" if answer.media_type == JSON else "string"}

    def _event(self, data: type[msgspec.Struct]) -> Json:
        """One event: OpenAPI 3.1 has no word for a sequence, and readers take it for each."""
        forms = [self._schemas.ref(data), self._schemas.ref(ErrorBody)]
        return {
            "type": "object",
            "description": "One server-sent event. Its `data` is one line.",
            "required": ["data"],
            "properties": {
                "data": {
                    "type": "string",
                    "anyOf": [
                        {"contentMediaType": JSON, "contentSchema": {"anyOf": forms}},
                        {"const": "[DONE]"},
                    ],
                }
            },
        }

    def _faults(self, operation: Operation) -> Iterator[type[errors.ApiError]]:
        yield from operation.faults
        if self._facts.needs_key and operation.path not in OPEN_PATHS:
            yield errors.Unauthorized
        if operation.path.startswith("/v1/"):
            yield errors.ShuttingDown
        yield errors.HeadersTooLarge
        yield errors.InternalFault


_PARAMETER_REFS: Final = [{"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS]


def _description(facts: Facts) -> str:
    unknown = "ignored and named in the `warning` header" if facts.is_lenient else "a 422"
    text = DESCRIPTION.format(
        unknown=unknown, max_body_bytes=facts.max_body_bytes, max_nesting=facts.max_nesting
    )
    return plain(text)


def _parameter(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def _header(text: str) -> Json:
    return {"description": text, "schema": {"type": "string"}}


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _by_status(
    faults: Iterable[type[errors.ApiError]],
) -> dict[int, list[type[errors.ApiError]]]:
    found: defaultdict[int, list[type[errors.ApiError]]] = defaultdict(list)
    for fault in faults:
        if fault not in found[fault.status]:
            found[fault.status].append(fault)
    return found


def _said(fault: type[errors.ApiError]) -> str:
    """An error's code, and the first thing that its docstring says."""
    text = re.split(r"[.:](?:\s|$)", plain(fault.__doc__ or ""), maxsplit=1)[0]
    code = fault.default_code or HTTPStatus(fault.status).phrase
    return f"`{code}`: {text}." if fault.default_code else f"{text}."
