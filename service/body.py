"""A request's body: read whole, within a size and a time, then decoded into a Struct.

The body is read before anything else is awaited: an HTTP/1.1 connection whose body waits does not
see its client leave. It is also read to its end when it is refused, within bounds: a client that
still sends may not hear an answer, and over HTTP/1.1 the connection would have to be closed.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
from starlette.requests import ClientDisconnect

from service.errors import (
    ApiError,
    BadRequest,
    PayloadTooLarge,
    Timeout,
    UnknownField,
    UnsupportedMediaType,
    ValidationFault,
    quoted,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

T = TypeVar("T")

# Possessive, so that no input makes it backtrack; an unfinished string runs to the end.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AS_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: 1 down, 1 up


class BodyLimits(msgspec.Struct, frozen=True):
    """Bounds of a JSON body. Of a body that is too large, `max_drain_bytes` more are discarded."""

    max_bytes: int = 4 * 1024 * 1024
    max_drain_bytes: int = 32 * 1024 * 1024
    max_stall_s: float = 30.0
    max_total_s: float = 600.0
    max_nesting: int = 64


async def read_json(request: Request, limits: BodyLimits) -> bytes:
    """The bytes of a JSON body.

    Raises:
        BadRequest: nested deeper than the limit.
        Timeout: nothing came for `max_stall_s`, or the whole took more than `max_total_s`.
        PayloadTooLarge: more than `max_bytes`.
        UnsupportedMediaType: another content type than JSON.
        ClientDisconnect: there is nobody left to answer.
    """
    body = await read(request.receive, limits)
    content_type = request.headers.get("content-type", "application/json")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("The content type must be application/json.")
    if is_nested_deeper(body, limits.max_nesting):
        raise BadRequest(f"The JSON body is nested deeper than {limits.max_nesting} levels.")
    return body


async def read(receive: Receive, limits: BodyLimits) -> bytes:
    """The whole body; raises as `read_json` for size and time."""
    try:
        with anyio.fail_after(limits.max_total_s):
            return await _read(receive, limits)
    except TimeoutError:
        raise Timeout("The request's body did not arrive in time.") from None


async def _read(receive: Receive, limits: BodyLimits) -> bytes:
    body = bytearray()
    num_dropped = 0
    more = True
    while more and num_dropped <= limits.max_drain_bytes:
        with anyio.fail_after(limits.max_stall_s):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        chunk = message.get("body", b"")
        if num_dropped or len(body) + len(chunk) > limits.max_bytes:
            num_dropped += len(chunk)
            body.clear()
        else:
            body += chunk
    if num_dropped:
        raise PayloadTooLarge(f"The request's body exceeds {limits.max_bytes} bytes.")
    return bytes(body)


def is_nested_deeper(body: bytes, max_nesting: int) -> bool:
    """Whether brackets outside strings nest deeper than that: the decoder would recurse.

    All passes run in C; 4 MiB of brackets take a tenth of a second.
    """
    if body.count(b"[") + body.count(b"{") <= max_nesting:
        return False
    steps = array("b", _STRING.sub(b"", body).translate(_AS_STEPS, _NO_BRACKETS))
    return max(accumulate(steps), default=0) > max_nesting


def decode(body: bytes | msgspec.Raw, shape: type[T], at: str = "") -> T:
    """`body` as a `shape`; `at` is the path of the field that holds it, "" for the whole body.

    Raises:
        BadRequest: it is not JSON, or not UTF-8.
        ValidationFault: it is not of that shape; `param` is the path of the field at fault.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _fault(str(error), at) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("The request's body is not valid JSON in UTF-8.") from None


_PLACED = re.compile(r"(.*) - at `((?:key` in `)?\$[^`]*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_NOT_ALLOWED = re.compile(r"Invalid (?:enum )?value '?(.*?)'?", re.DOTALL)
# Texts of msgspec that hold nothing but types and bounds of our own Structs.
_HARMLESS = re.compile(r"Expected `|Number out of range|Integer value out of range")


def _fault(text: str, at: str) -> ApiError:
    """msgspec's "what - at `$.path`" as a fault of ours. For unknown and missing fields msgspec
    names the parent only; what it quotes from the input is shortened."""
    found = _PLACED.fullmatch(text)
    what, path = (found[1], _join(at, _path_of(found[2]))) if found else (text, at)
    if found := _UNKNOWN.fullmatch(what):
        return UnknownField(_steps_of(path), found[1], _join(path, found[1]))
    if found := _MISSING.fullmatch(what):
        path = _join(path, found[1])
        return ValidationFault(
            f"Missing required field `{found[1]}`.", param=path, code="missing_field"
        )
    if found := _NOT_ALLOWED.fullmatch(what):
        reason = f"{quoted(found[1])} is not an allowed value"
    elif _HARMLESS.match(what):
        reason = what[0].lower() + what[1:]
    else:
        reason = "the value is not valid"
    return ValidationFault(f"Invalid {path or 'request body'}: {reason}.", param=path or None)


def _path_of(place: str) -> str:
    """From msgspec's "$.a[0].b", or "key` in `$.m", to "a[0].b" and "m"."""
    return place.removeprefix("key` in `").removeprefix("$").removeprefix(".").replace("[...]", "")


def _steps_of(path: str) -> tuple[str | int, ...]:
    """From "a[0].b" to the keys and indexes that lead there. Only names of our own fields and
    indexes stand before an unknown field, so nothing in a path has to be escaped."""
    steps = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in steps)


def _join(parent: str, child: str) -> str:
    """The path of `child` within `parent`; an index follows without a dot."""
    if not parent or not child or child.startswith("["):
        return parent + child
    return f"{parent}.{child}"
