"""What can go wrong with a request, as OpenAI's clients expect to hear it.

::

    ApiError                   status  type                   code
     ├── BadRequest            400     invalid_request_error  (none, or the caller's)
     │    └── ContextExceeded  400     invalid_request_error  context_length_exceeded
     ├── Unauthorized          401     invalid_request_error  invalid_api_key
     ├── Forbidden             403     invalid_request_error  forbidden
     ├── NotFound              404     invalid_request_error  not_found
     │    └── ModelNotFound    404     invalid_request_error  model_not_found
     ├── MethodNotAllowed      405     invalid_request_error  method_not_allowed      Allow
     ├── Timeout               408     timeout_error          timeout                 never retried
     ├── PayloadTooLarge       413     invalid_request_error  payload_too_large
     ├── UnsupportedMediaType  415     invalid_request_error  unsupported_media_type
     ├── ValidationFault       422     invalid_request_error  invalid_value           param
     │    ├── UnknownField     422     invalid_request_error  unknown_field           param
     │    └── NotSupported     422     invalid_request_error  unsupported_parameter   param
     ├── HeadersTooLarge       431     invalid_request_error  headers_too_large
     ├── Overloaded            429     rate_limit_error       overloaded              Retry-After
     ├── EngineFault           500     server_error           engine_error            never retried
     ├── InternalFault         500     server_error           internal_error          never retried
     └── Unavailable           503     server_error           engine_unavailable      Retry-After
          ├── ModelLoading     503     server_error           model_loading           Retry-After
          ├── ModelLoadFailed  503     server_error           model_load_failed       never retried
          └── ShuttingDown     503     server_error           shutting_down           Retry-After

"Never retried" is the header `x-should-retry: false`: OpenAI's clients repeat 408 and 5xx twice,
which would do the same doomed work three times. Messages are ours and short: they never hold the
text of a library's exception, and what a client sent only in part (`quoted`).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from starlette.responses import Response

import engine.errors
from engine.errors import EngineError, EngineLoading, EngineOverloaded, EngineUnavailable

MAX_MESSAGE_CHARS = 400
MAX_PARAM_CHARS = 200
MAX_QUOTED_CHARS = 64

NEVER_RETRY = {"x-should-retry": "false"}


class ApiError(Exception):
    """Base of all. `param` names the field at fault as a path: `messages[0].content`."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None
    default_headers: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = shortened(message, MAX_MESSAGE_CHARS)
        self.param = None if param is None else shortened(param, MAX_PARAM_CHARS)
        self.code = code or self.default_code
        self.headers = self.default_headers | (headers or {})


class BadRequest(ApiError):
    """The request as a whole cannot be understood or served."""

    status = 400
    type = "invalid_request_error"


class ContextExceeded(BadRequest):
    """The prompt is longer than the model's context. Agents compact their history on its code."""

    default_code = "context_length_exceeded"


class Unauthorized(ApiError):
    """The key is missing or wrong."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"
    default_headers: ClassVar[dict[str, str]] = {"www-authenticate": "Bearer"}


class Forbidden(ApiError):
    """The caller may not do that."""

    status = 403
    type = "invalid_request_error"
    default_code = "forbidden"


class NotFound(ApiError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class ModelNotFound(NotFound):
    """No such model is served."""

    default_code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {quoted(model)} does not exist.", param="model")


class MethodNotAllowed(ApiError):
    """The path exists, the method does not; pass `headers={"allow": …}`."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Timeout(ApiError):
    """The body stalled, or the answer did not begin within the request's own deadline."""

    status = 408
    type = "timeout_error"
    default_code = "timeout"
    default_headers = NEVER_RETRY


class PayloadTooLarge(ApiError):
    """The body exceeds its limit."""

    status = 413
    type = "invalid_request_error"
    default_code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The body is of a content type that the route does not take."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class HeadersTooLarge(ApiError):
    """The request's headers exceed their limit."""

    status = 431
    type = "invalid_request_error"
    default_code = "headers_too_large"


class ValidationFault(ApiError):
    """One field is wrong: `param` says which."""

    status = 422
    type = "invalid_request_error"
    default_code = "invalid_value"


class UnknownField(ValidationFault):
    """A field that nothing here knows: `name`, in the object to which `parent` leads."""

    default_code = "unknown_field"

    def __init__(self, parent: tuple[str | int, ...], name: str, param: str) -> None:
        super().__init__(f"Unknown field {quoted(name)}.", param=param)
        self.parent = parent
        self.name = name


class NotSupported(ValidationFault):
    """A field of OpenAI's API that would change the answer and that is not built."""

    default_code = "unsupported_parameter"


class Overloaded(ApiError):
    """The server holds as many requests as it can, or a key has used up its limit."""

    status = 429
    type = "rate_limit_error"
    default_code = "overloaded"
    default_headers: ClassVar[dict[str, str]] = {"retry-after": "1"}


class EngineFault(ApiError):
    """The engine failed at this request."""

    default_code = engine.errors.ENGINE_ERROR
    default_headers = NEVER_RETRY


class InternalFault(ApiError):
    """A mistake of ours outside the engine: what a route raised and nobody foresaw."""

    default_code = "internal_error"
    default_headers = NEVER_RETRY

    def __init__(self) -> None:
        super().__init__("The server made a mistake while answering this request.")


class Unavailable(ApiError):
    """The engine is dead or restarting."""

    status = 503
    default_code = engine.errors.ENGINE_UNAVAILABLE
    default_headers: ClassVar[dict[str, str]] = {"retry-after": "5"}


class ModelLoading(Unavailable):
    """The weights are not there yet."""

    default_code = "model_loading"


class ModelLoadFailed(Unavailable):
    """The model cannot be loaded, and it is too early to try again."""

    default_code = "model_load_failed"
    default_headers: ClassVar[dict[str, str]] = NEVER_RETRY

    def __init__(self, reason: str, *, retry_after_s: int) -> None:
        super().__init__(reason, param="model", headers={"retry-after": str(retry_after_s)})


class ShuttingDown(Unavailable):
    """The server drains and takes nothing new."""

    default_code = "shutting_down"


def of_engine_error(error: EngineError) -> ApiError:
    """The API's view of what `EngineClient` raises; its messages are fixed texts of ours."""
    message = str(error)
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else {}
    match error:
        case EngineOverloaded():
            return Overloaded(message, headers=headers)
        case EngineLoading():
            return ModelLoading(message, headers=headers)
        case EngineUnavailable():
            return Unavailable(message, headers=headers)
        case _:
            return EngineFault("The engine failed at this request.")


def of_failed(code: str, message: str) -> ApiError:
    """The API's view of the engine's `Failed` event, whose message is a fixed text of ours."""
    if code == engine.errors.CONTEXT_LENGTH_EXCEEDED:
        return ContextExceeded(message, param="messages")
    if code == engine.errors.INVALID_GRAMMAR:
        return BadRequest(message, code=code)
    if code == engine.errors.DEADLINE_UNREACHABLE:
        return Overloaded(message, code=code)
    if code in (engine.errors.ENGINE_UNAVAILABLE, engine.errors.MODEL_NOT_LOADED):
        return Unavailable(message, code=code)
    if code == engine.errors.SHUTTING_DOWN:
        return ShuttingDown(message)
    return EngineFault(message, code=code)


def envelope(error: ApiError) -> bytes:
    """OpenAI's error object, the same in answers and in the events of a stream."""
    fault = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return msgspec.json.encode({"error": fault})


def error_response(error: ApiError) -> Response:
    """The answer that tells of an error."""
    return Response(
        envelope(error), error.status, headers=error.headers, media_type="application/json"
    )


def quoted(text: str) -> str:
    """What a client sent, for a message: in backticks, printable, and never at length."""
    printable = "".join(
        char if char.isprintable() else "?" for char in text[: MAX_QUOTED_CHARS + 1]
    )
    return f"`{shortened(printable, MAX_QUOTED_CHARS)}`"


def shortened(text: str, max_chars: int) -> str:
    """`text`, or its beginning and an ellipsis."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
