"""What can go wrong between the service and the engine.

::

    EngineError             .code  .retry_after_s
     ├── EngineOverloaded   overloaded           too many requests are in flight
     ├── EngineLoading      model_loading        weights are not there yet
     ├── EngineUnavailable  engine_unavailable   the engine died or was stopped
     └── StartupError       (ends the program)   the engine cannot start: says what to do
          └── OutOfMemory                        weights or KV cache do not fit

A fault of one request is no exception but an event, `protocol.Failed`, with one of the codes
`ENGINE_ERROR`, `CONTEXT_LENGTH_EXCEEDED`, `DEADLINE_UNREACHABLE`, `MODEL_NOT_LOADED`,
`INVALID_REQUEST`, `INVALID_GRAMMAR` or `ENGINE_UNAVAILABLE`.
"""

from __future__ import annotations

ENGINE_ERROR = "engine_error"
ENGINE_UNAVAILABLE = "engine_unavailable"
STARTUP_FAILED = "startup_failed"
OUT_OF_MEMORY = "out_of_memory"
SHUTTING_DOWN = "shutting_down"
CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
DEADLINE_UNREACHABLE = "deadline_unreachable"
MODEL_NOT_LOADED = "model_not_loaded"
INVALID_REQUEST = "invalid_request"
INVALID_GRAMMAR = "invalid_grammar"


class EngineError(Exception):
    """Base of all; `code` is the API's code, `retry_after_s` when trying again makes sense."""

    code = ENGINE_ERROR
    retry_after_s: int | None = None


class EngineOverloaded(EngineError):
    """The limit of requests or prompt tokens in flight is reached."""

    code = "overloaded"
    retry_after_s = 1


class EngineLoading(EngineError):
    """The weights are still being loaded and the caller does not want to wait longer."""

    code = "model_loading"
    retry_after_s = 5


class EngineUnavailable(EngineError):
    """The engine has died or has been stopped."""

    code = ENGINE_UNAVAILABLE
    retry_after_s = 5


class StartupError(EngineError):
    """The engine cannot start; the text says why and what to do."""

    code = STARTUP_FAILED


class OutOfMemory(StartupError):
    """Weights or KV cache do not fit into memory."""

    code = OUT_OF_MEMORY
