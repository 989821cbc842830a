"""The table of operations: one entry for each method of each route.

A new route needs an entry here, and its Structs' checks beyond types a `Rules` in `document`; a
test says which routes have none (`tests/service/test_openapi.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service import errors
from service.api.health import Health
from service.openapi.operation import EVENTS, Answer, Operation
from service.schemas.chat import ChatCompletionRequest
from service.schemas.chat_answer import ChatCompletion
from service.schemas.chat_chunk import ChatCompletionChunk
from service.schemas.completions import CompletionRequest
from service.schemas.completions_answer import Completion
from service.schemas.completions_chunk import CompletionChunk
from service.schemas.models import ModelList, ModelMove, ModelObject
from service.schemas.probe import Probe
from service.schemas.tokenize import (
    Detokenized,
    DetokenizeRequest,
    Tokenized,
    TokenizeRequest,
)

if TYPE_CHECKING:
    import msgspec

TAGS: Final = {
    "Chat": "Answers to conversations.",
    "Completions": "Texts gone on with: OpenAI's older API.",
    "Models": "What is served. Ids may contain slashes.",
    "Tokens": "What prompts are made of, as vLLM tells it.",
    "Health": "For people, for probes and for Prometheus.",
    "Document": "This document.",
}

BODY_FAULTS: Final = (
    errors.BadRequest,
    errors.Timeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.ValidationFault,
    errors.UnknownField,
)
"""Of a route that reads a body."""
GENERATION_FAULTS: Final = (
    errors.ContextExceeded,
    errors.ModelNotFound,
    errors.NotSupported,
    errors.Overloaded,
    errors.EngineFault,
    errors.Unavailable,
    errors.ModelLoading,
    errors.ModelLoadFailed,
)
"""Of a route that lets a model answer."""
TOKEN_FAULTS: Final = (
    *BODY_FAULTS,
    errors.ContextExceeded,
    errors.ModelNotFound,
    errors.NotSupported,
    errors.EngineFault,
    errors.Unavailable,
    errors.ModelLoading,
    errors.ModelLoadFailed,
)
MOVE_FAULTS: Final = (
    *BODY_FAULTS,
    errors.Forbidden,
    errors.ModelNotFound,
    errors.EngineFault,
    errors.Unavailable,
    errors.ModelLoading,
    errors.ModelLoadFailed,
)


def _stream_of(chunk: type[msgspec.Struct]) -> Answer:
    return Answer(
        description="With `stream`: chunks, then `[DONE]`. A fault in the middle is an event with "
        "an `error`, and no `[DONE]` follows. Lines that begin with a colon keep the connection "
        "alive.",
        body=chunk,
        media_type=EVENTS,
        headers=("warning",),
    )


_CHAT: Final = (
    Operation(
        method="POST",
        path="/v1/chat/completions",
        tag="Chat",
        name="createChatCompletion",
        summary="Answer a conversation",
        description="The answer whole, or as server-sent events with `stream`. What would change "
        "the answer of another model but not of this one is accepted and named in the `warning` "
        "header.",
        request=ChatCompletionRequest,
        example={
            "messages": [{"role": "user", "content": "What is 17 + 25?"}],
            "temperature": 0,
            "max_tokens": 64,
        },
        sdk="chat.completions.create",
        answers=(
            Answer(description="The answer.", body=ChatCompletion, headers=("warning",)),
            _stream_of(ChatCompletionChunk),
        ),
        faults=(*BODY_FAULTS, *GENERATION_FAULTS),
    ),
)

_COMPLETIONS: Final = (
    Operation(
        method="POST",
        path="/v1/completions",
        tag="Completions",
        name="createCompletion",
        summary="Go on with texts",
        description="Of one prompt or several, whole or as server-sent events with `stream`.",
        request=CompletionRequest,
        example={"prompt": "Mira lives in Tolbek. Mira lives in", "temperature": 0},
        sdk="completions.create",
        answers=(
            Answer(description="The answer.", body=Completion, headers=("warning",)),
            _stream_of(CompletionChunk),
        ),
        faults=(*BODY_FAULTS, *GENERATION_FAULTS),
    ),
)
_TOKENS: Final = (
    Operation(
        method="POST",
        path="/tokenize",
        tag="Tokens",
        name="tokenize",
        summary="Make tokens of a text or a conversation",
        request=TokenizeRequest,
        example={"prompt": "What is 17 + 25?"},
        answers=(Answer(description="Its tokens.", body=Tokenized, headers=("warning",)),),
        faults=TOKEN_FAULTS,
    ),
    Operation(
        method="POST",
        path="/detokenize",
        tag="Tokens",
        name="detokenize",
        summary="Make a text of tokens",
        request=DetokenizeRequest,
        example={"tokens": [72, 101, 108, 108, 111]},
        answers=(Answer(description="Their text.", body=Detokenized),),
        faults=TOKEN_FAULTS,
    ),
)

_PROGRESS: Final = Answer(
    description="With `stream`: the model each time that something of it has changed, then `[DONE]`.",
    body=ModelObject,
    media_type=EVENTS,
)
_MODELS: Final = (
    Operation(
        method="GET",
        path="/v1/models",
        tag="Models",
        name="listModels",
        summary="List the models",
        description="Loaded or not; the one named on the command line comes first.",
        sdk="models.list",
        answers=(Answer(description="All models.", body=ModelList),),
    ),
    Operation(
        method="GET",
        path="/v1/models/{model}",
        tag="Models",
        name="retrieveModel",
        summary="Look at one model",
        sdk="models.retrieve",
        answers=(Answer(description="The model.", body=ModelObject),),
        faults=(errors.ModelNotFound,),
    ),
    Operation(
        method="POST",
        path="/v1/models/{model}/load",
        tag="Models",
        name="loadModel",
        summary="Load a model",
        description="Answers once it is loaded. Without an API key only programs on the server's "
        "own machine may.",
        request=ModelMove,
        may_lack_body=True,
        answers=(Answer(description="The model, loaded.", body=ModelObject), _PROGRESS),
        faults=MOVE_FAULTS,
    ),
    Operation(
        method="POST",
        path="/v1/models/{model}/unload",
        tag="Models",
        name="unloadModel",
        summary="Unload a model",
        description="Answers once its memory is free; its running answers end with an error. "
        "Without an API key only programs on the server's own machine may.",
        request=ModelMove,
        may_lack_body=True,
        answers=(Answer(description="The model, unloaded.", body=ModelObject), _PROGRESS),
        faults=MOVE_FAULTS,
    ),
)

_HEALTH: Final = (
    Operation(
        method="GET",
        path="/health",
        tag="Health",
        name="health",
        summary="All that is known",
        answers=(
            Answer(description="Requests are taken.", body=Health),
            Answer(
                status=503,
                description="Requests are not taken: `reason` says why.",
                body=Health,
                headers=("retry-after",),
            ),
        ),
    ),
    Operation(
        method="GET",
        path="/health/live",
        tag="Health",
        name="live",
        summary="Whether the process turns",
        answers=(Answer(description="It does.", body=Probe),),
    ),
    Operation(
        method="GET",
        path="/health/ready",
        tag="Health",
        name="ready",
        summary="Whether requests are taken",
        answers=(
            Answer(description="They are.", body=Probe),
            Answer(status=503, description="They are not.", body=Probe, headers=("retry-after",)),
        ),
    ),
    Operation(
        method="GET",
        path="/metrics",
        tag="Health",
        name="metrics",
        summary="Metrics for Prometheus",
        answers=(
            Answer(description="In Prometheus's text format.", media_type="text/plain"),
            Answer(
                description="In the form of OpenMetrics, if `accept` asks for it.",
                media_type="application/openmetrics-text",
            ),
        ),
    ),
)

_UNCHANGED: Final = Answer(
    status=304,
    description="It is still what `if-none-match` names.",
    media_type=None,
    headers=("etag",),
)
_DOCUMENT: Final = (
    Operation(
        method="GET",
        path="/openapi.json",
        tag="Document",
        name="openapi",
        summary="This document",
        answers=(Answer(description="OpenAPI 3.1.", headers=("etag",)), _UNCHANGED),
    ),
    Operation(
        method="GET",
        path="/docs",
        tag="Document",
        name="docs",
        summary="This document as a page",
        answers=(
            Answer(description="The page.", media_type="text/html", headers=("etag",)),
            _UNCHANGED,
        ),
    ),
)

OPERATIONS: Final = (*_CHAT, *_COMPLETIONS, *_MODELS, *_TOKENS, *_HEALTH, *_DOCUMENT)
