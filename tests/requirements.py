"""What the API owes its clients, one row for each promise, and the mark that names a row on a test.

A row is due, or pending: then it names the issue that will build it. The levels of the API's
design are in the words: it must (work as specified), it should (a good server does), it is
accepted (taken, perhaps without effect), it is refused (ignoring it would change the answer).
`tests/architecture/test_requirements.py` holds the table against the tests, both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MORE_ROUTES: Final = 9
"""Models that come and go, legacy completions, embeddings, the OpenAPI document."""
RESPONSES: Final = 13
AUDIO: Final = 14
KEYS: Final = 15
"""Keys with limits."""


class Requirement(NamedTuple):
    """One promise. `source` is who asks for it; `pending` is the issue that will build it."""

    id: str
    source: str
    text: str
    pending: int | None = None


def _rows(
    source: str, texts: Mapping[str, str], pending: int | None = None
) -> Iterator[Requirement]:
    for name, text in texts.items():
        yield Requirement(name, source, text, pending)


CHAT_REQUEST: Final = (
    *_rows(
        "OpenAI: CreateChatCompletionRequest",
        {
            "chat.request.messages.roles": "Messages of every role must reach the model's template.",
            "chat.request.messages.parts": "Text parts must count as their text; a media part is refused by its place.",
            "chat.request.messages.malformed": "No messages, an unknown role or content of no known form is refused.",
            "chat.request.messages.history": "An earlier answer with all fields that answers carry must be taken back.",
            "chat.request.model": "The served model must answer; any other name is a 404 `model_not_found`.",
            "chat.request.max_completion_tokens": "`max_completion_tokens` must bound the answer.",
            "chat.request.max_tokens": "`max_tokens`, its older name, must bound the answer too.",
            "chat.request.temperature": "`temperature` must shape the sampling; 0 must be greedy.",
            "chat.request.top_p": "`top_p` must cut what is sampled from.",
            "chat.request.n": "`n` must give that many answers to one prompt.",
            "chat.request.stop": "`stop`, a string or a list, must end the answer before itself.",
            "chat.request.seed": "`seed`, any signed 64-bit integer, must give the same text again.",
            "chat.request.stream": "`stream` must give events instead of one object.",
            "chat.request.include_usage": "`stream_options.include_usage` must add a last chunk with the usage.",
            "chat.request.stream_options_alone": "`stream_options` without `stream` is refused.",
            "chat.request.logprobs": "`logprobs` must score each token of the answer.",
            "chat.request.top_logprobs": "`top_logprobs`, 0 to 20, must add that many likeliest tokens to each.",
            "chat.request.top_logprobs_alone": "`top_logprobs` without `logprobs` is refused.",
            "chat.request.logit_bias": "`logit_bias` must raise, lower or ban the tokens it names.",
            "chat.request.logit_bias_vocabulary": "`logit_bias` for what is no token of the model is refused.",
            "chat.request.presence_penalty": "`presence_penalty` must make tokens that came once less likely.",
            "chat.request.frequency_penalty": "`frequency_penalty` must make tokens less likely each time they come.",
            "chat.request.response_format.text": "A `response_format` of free text must change nothing.",
            "chat.request.response_format.unknown": "A `response_format` of an unknown type is refused.",
            "chat.request.tools": "`tools` must reach the template, and calls of the model must come out as calls.",
            "chat.request.tools.custom": "A tool of type `custom` is refused.",
            "chat.request.tools.strict": "The arguments of a `strict` function must be of its schema.",
            "chat.request.functions": "`functions` and `function_call`, the older form of tools, are refused.",
            "chat.request.tool_choice.auto": "`tool_choice` `auto` must leave it to the model whether it calls.",
            "chat.request.tool_choice.none": "`tool_choice` `none` must keep the model from calling.",
            "chat.request.parallel_tool_calls": "Several calls in one answer must all come out.",
            "chat.request.tool_choice.allowed_tools": "`allowed_tools` should confine calls to those tools.",
            "chat.request.response_format.json_object": "`json_object` must give an answer that is a JSON object.",
            "chat.request.response_format.json_schema": "`json_schema` must give JSON of that schema.",
            "chat.request.response_format.schema_refused": "A schema that cannot be kept is refused.",
            "chat.request.tool_choice.required": "`tool_choice` `required` must give at least one call.",
            "chat.request.tool_choice.named": "A named function must be the one that is called.",
            "chat.request.parallel_tool_calls_false": "`parallel_tool_calls` false must give at most one call.",
            "chat.request.reasoning_effort": "`reasoning_effort` should reach the model's template.",
            "chat.request.reasoning_effort_unknown": "A `reasoning_effort` that is no known word is refused.",
            "chat.request.hints": "`verbosity` and `prediction` are accepted.",
            "chat.request.media": "Audio out, web search and moderation are refused.",
            "chat.request.labels": "What is for bookkeeping only (`user`, `store`, `metadata` …) is accepted.",
            "chat.request.metadata_limits": "More than 16 `metadata`, or longer ones than OpenAI takes, are refused.",
            "chat.request.include_obfuscation": "`stream_options.include_obfuscation` is accepted.",
            "chat.request.null": "An explicit null must equal an absent field, everywhere.",
            "chat.request.bounds": "A number out of its range, or of the wrong type, is refused by its name.",
        },
    ),
    *_rows(
        "clients of vLLM, SGLang and llama.cpp: fields beyond OpenAI's",
        {
            "chat.request.top_k": "`top_k` should keep that many likeliest tokens; 0 and -1 keep all.",
            "chat.request.min_p": "`min_p` should drop what weighs less than its share of the likeliest.",
            "chat.request.repetition_penalty": "`repetition_penalty` should count the prompt's tokens too.",
            "chat.request.min_tokens": "`min_tokens` should keep the answer from ending before.",
            "chat.request.ignore_eos": "`ignore_eos` should let the answer run to its bound.",
            "chat.request.stop_token_ids": "`stop_token_ids` should end the answer at those tokens.",
            "chat.request.skip_special_tokens": "`skip_special_tokens` false should show special tokens as text.",
            "chat.request.chat_template_kwargs": "`chat_template_kwargs` should reach the model's template.",
            "chat.request.continue_final_message": "`continue_final_message` should go on with the last message.",
            "chat.request.cache_salt": "`cache_salt` should keep requests of other salts from sharing prefixes.",
            "chat.request.priority": "`priority` should decide who waits.",
            "chat.request.unknown_field": "A field that nobody knows is refused by its name.",
        },
    ),
)

CHAT_ANSWER: Final = (
    *_rows(
        "OpenAI: CreateChatCompletionResponse",
        {
            "chat.answer.shape": "The answer must have every required field, also those that are null.",
            "chat.answer.choices": "Choices must be numbered from 0 and stand in that order.",
            "chat.answer.tool_calls": "A call must have an id, a name and arguments as JSON text.",
            "chat.answer.logprobs": "`logprobs` must be null, or hold each token with its bytes and score.",
            "chat.answer.finish_reason": "`finish_reason` must be `stop`, `length` or `tool_calls`, as it was.",
            "chat.answer.usage": "`usage` must count prompt and answer, all choices together.",
            "chat.answer.cached_tokens": "`usage` should tell how much of the prompt was in the cache.",
            "chat.answer.reasoning_tokens": "`usage` should tell how much of the answer was reasoning.",
        },
    ),
    *_rows(
        "clients of vLLM, SGLang and llama.cpp: fields beyond OpenAI's",
        {
            "chat.answer.reasoning": "Reasoning should come apart from the content, under both of its names.",
        },
    ),
)

CHAT_STREAM: Final = (
    *_rows(
        "OpenAI: CreateChatCompletionStreamResponse",
        {
            "chat.stream.head": "All chunks must have the same id, creation time and model.",
            "chat.stream.finish_reason": "Every choice of a chunk must have `finish_reason`; only its last is not null.",
            "chat.stream.logprobs": "Streamed scores must be those of the whole answer, beside their text.",
            "chat.stream.usage_null": "With `include_usage` all chunks but the last must have a null `usage`.",
            "chat.stream.done": "A stream that did not fail must end with `[DONE]`.",
            "chat.stream.text": "The pieces must add up to the text of the whole answer.",
        },
    ),
    *_rows(
        "openai SDK: lib/streaming/chat/_completions.py",
        {
            "chat.stream.role_once": "The role must come once for each choice, in its first delta.",
            "chat.stream.choices_in_order": "Choices must first appear in the order 0, 1, 2.",
            "chat.stream.tool_calls": "A call must be named in its first delta; the later ones only add arguments.",
            "chat.stream.usage_last": "The usage must come in the very last chunk, with no choices.",
            "chat.stream.helper": "The SDK's helper must put text, calls and usage together.",
        },
    ),
    *_rows(
        "clients of vLLM, SGLang and llama.cpp: fields beyond OpenAI's",
        {
            "chat.stream.reasoning": "Reasoning should be streamed apart from the content, under both names.",
        },
    ),
)

ERRORS: Final = (
    *_rows(
        "OpenAI: ErrorResponse",
        {
            "errors.shape": "Every error must be OpenAI's envelope: message, type, param, code.",
            "errors.400.json": "A body that is no JSON must be a 400.",
            "errors.400.context": "A prompt above the context must be a 400 `context_length_exceeded`.",
            "errors.401": "A missing or wrong key must be a 401 with WWW-Authenticate.",
            "errors.404.model": "An unknown model must be a 404 `model_not_found`.",
            "errors.422": "A wrong field must be a 422 that names its path.",
            "errors.429": "What is too much for the server must be a 429 `rate_limit_error` with Retry-After.",
            "errors.500": "A failure of ours must be a 500 `server_error` that tells no internals.",
            "errors.503": "A server that cannot take it now must say 503 with Retry-After.",
        },
    ),
    *_rows(
        "HTTP: RFC 9110",
        {
            "errors.404.path": "An unknown path must be a 404 in the envelope.",
            "errors.405": "A wrong method must be a 405 with Allow.",
            "errors.413": "A body above the limit must be a 413, and the answer must arrive.",
            "errors.415": "A body that says it is no JSON must be a 415.",
        },
    ),
    *_rows(
        "openai SDK: _base_client.py",
        {
            "errors.sdk": "The SDK must raise its own type for a status, with code and param.",
            "errors.408": "An answer that comes too late for the client's timeout must be a 408.",
            "errors.no_retry": "What would fail again must not be repeated: `x-should-retry: false`.",
            "errors.in_stream": "A fault after the first byte must be an error event, with no `[DONE]`.",
            "errors.before_stream": "A fault before the first event must be a status, also for a stream.",
            "errors.disconnect": "Work for a client that has left must end, for the SDK asks thrice.",
        },
    ),
    *_rows(
        "OpenAI: keys of projects",
        {"errors.403": "A key that may not use a model must hear 403."},
        pending=KEYS,
    ),
)

HEADERS: Final = (
    *_rows(
        "openai SDK: response headers",
        {
            "headers.x_request_id": "Every answer, errors too, must carry `x-request-id`.",
            "headers.x_request_id_echo": "A sane `x-request-id` of the caller should come back, a long one not.",
            "headers.openai_processing_ms": "Every answer should say how long it took.",
            "headers.retry_after": "A 429 or 503 must say when to come again, in seconds the SDK obeys.",
            "headers.content_type": "Objects must be `application/json`, streams `text/event-stream`.",
            "headers.cache_control": "A stream should be `no-cache`.",
            "headers.authorization": "The key must be taken as `Authorization: Bearer`.",
            "headers.stainless_timeout": "The SDK's `x-stainless-timeout` should shorten the request's time.",
        },
    ),
    *_rows(
        "OpenAI: rate limits",
        {"headers.x_ratelimit": "Under limits every answer should say limit, remainder and reset."},
        pending=KEYS,
    ),
)

MODELS: Final = (
    *_rows(
        "OpenAI: ListModelsResponse, Model",
        {
            "models.list": "The list must hold every served model, its creation time an integer.",
            "models.retrieve": "A served model must be found by its id, also one with slashes.",
            "models.not_found": "Any other id must be a 404 `model_not_found`.",
        },
    ),
    *_rows(
        "clients of vLLM and llama.cpp: models that come and go",
        {
            "models.load": "A model should be loaded while others answer.",
            "models.unload": "A model should be unloaded without harm to the others.",
        },
        pending=MORE_ROUTES,
    ),
    *_rows(
        "clients of vLLM and llama.cpp: what makes requests of a document",
        {"openapi.document": "The server should describe itself in an OpenAPI document."},
    ),
)

COMPLETIONS: Final = (
    *_rows(
        "OpenAI: CreateCompletionRequest",
        {
            "completions.prompt": "A string, strings, ids and lists of ids must be taken.",
            "completions.prompt_ids": "An id that is no token of the model is refused.",
            "completions.max_tokens": "Without `max_tokens` the answer must have at most 16 tokens.",
            "completions.max_tokens_0": "`max_tokens` 0 should tell of the prompt and count no answer.",
            "completions.echo": "`echo` should give the prompt back, with its scores.",
            "completions.logprobs": "`logprobs`, 0 to 5, should score each token.",
            "completions.best_of": "`best_of` beyond `n` and `suffix` are refused.",
            "completions.order": "Choices must stand prompt by prompt, and for each in order.",
            "completions.several_prompts": "Several prompts must be one request: with one fault, or one client that leaves, all end.",
            "completions.sampling": "What chat takes for sampling and streaming must work here too.",
        },
    ),
    *_rows(
        "OpenAI: CreateCompletionResponse",
        {
            "completions.answer.shape": "The answer must have every required field, also those that are null.",
            "completions.usage": "`usage` must count all prompts and answers together.",
            "completions.stream": "A stream must give the same object in pieces, each choice's end once, and `[DONE]`.",
            "completions.text": "The pieces must add up to the whole answer, scores too.",
        },
    ),
    *_rows(
        "lm-evaluation-harness: models/openai_completions.py",
        {
            "completions.harness": "Scores of an echoed prompt must be those of plain transformers.",
            "completions.stop_token_score": "An answer of one token must have a score also if that token is the end.",
        },
    ),
    *_rows(
        "clients of vLLM: fields and routes beyond OpenAI's",
        {
            "completions.structure": "The fields for the form of an answer should work as in a chat.",
            "completions.special_tokens": "`add_special_tokens` false should leave out the tokenizer's own; a text's are found.",
            "tokenize.prompt": "`/tokenize` should give the ids that a text or a chat would have.",
            "tokenize.detokenize": "`/detokenize` should give the text of ids, special tokens by name.",
            "tokenize.bounds": "What is larger than the context, or no token, is refused.",
        },
    ),
    *_rows(
        "OpenAI: CreateEmbeddingRequest",
        {
            "embeddings.input": "A string, strings, ids and lists of ids must be taken.",
            "embeddings.encoding_format": "`float` and `base64`, the SDK's default, must give the same numbers.",
            "embeddings.unknown_field": "A field that nobody knows is refused.",
        },
        pending=MORE_ROUTES,
    ),
)

RESPONSES_ROWS: Final = (
    *_rows(
        "OpenAI: CreateResponse",
        {
            "responses.input": "A string and every known kind of item must be taken; unknown kinds are refused.",
            "responses.instructions": "`instructions` must hold for this response only.",
            "responses.max_output_tokens": "A cut answer must have the status `incomplete` and its reason.",
            "responses.sampling": "`temperature`, `top_p` and `top_logprobs` must work as in chat.",
            "responses.stream": "`stream`, false by default, must give numbered, typed events.",
            "responses.text_format": "`text.format` must work as chat's `response_format`.",
            "responses.tools": "Functions must be callable; hosted tools that are not run are refused.",
            "responses.tool_choice": "`tool_choice` must work, `allowed_tools` too.",
            "responses.parallel_tool_calls": "`parallel_tool_calls` false must give at most one call.",
            "responses.store": "A stored response must be the beginning of the next one.",
            "responses.background": "`background` should let the client leave and come back.",
            "responses.include": "`include` should add scores and encrypted reasoning.",
            "responses.reasoning": "`reasoning` should set the effort and give items of reasoning.",
            "responses.truncation": "`truncation` `disabled` must refuse, `auto` should shorten.",
            "responses.labels": "Metadata, users, cache keys and tiers are accepted and echoed.",
            "responses.not_built": "`conversation`, `prompt` and `context_management` are refused.",
            "responses.object": "The object must have every required field, echoes too, and the whole usage.",
            "responses.events.text": "Events of text must come in OpenAI's order, `response.completed` last.",
            "responses.events.function": "Events of a call must add up to its arguments and name it at the end.",
            "responses.events.error": "A fault must be a flat `error` event, then `response.failed`.",
            "responses.events.done": "The stream must end with `[DONE]`.",
            "responses.retrieve": "A stored response should be found, cancelled and deleted by its id.",
            "responses.input_items": "Its input should be listed, newest first by default.",
            "responses.input_tokens": "The tokens of an input should be counted without a generation.",
            "responses.websocket": "A response should be had over a WebSocket too.",
        },
        pending=RESPONSES,
    ),
)

AUDIO_ROWS: Final = (
    *_rows(
        "OpenAI: CreateTranscriptionRequest",
        {
            "audio.file": "A file of audio must become text; a missing one is refused.",
            "audio.language": "`language` and `prompt` must guide it.",
            "audio.response_format": "`json`, `text`, `srt`, `verbose_json` and `vtt` must each have their form.",
            "audio.temperature": "`temperature`, 0 to 1, must shape the sampling.",
            "audio.timestamps": "`timestamp_granularities` should give words and segments.",
            "audio.stream": "`stream` must give `transcript.text.delta` and one `transcript.text.done`.",
            "audio.speakers": "Known speakers are refused.",
            "audio.usage": "The usage should be told in seconds.",
            "audio.translations": "A file should become English text.",
        },
        pending=AUDIO,
    ),
    *_rows(
        "OpenAI: Realtime",
        {"realtime.session": "Speech should be turned into text while it is spoken."},
        pending=AUDIO,
    ),
)

REQUIREMENTS: Final = (
    *CHAT_REQUEST,
    *CHAT_ANSWER,
    *CHAT_STREAM,
    *ERRORS,
    *HEADERS,
    *MODELS,
    *COMPLETIONS,
    *RESPONSES_ROWS,
    *AUDIO_ROWS,
)

_IDS: Final = frozenset(row.id for row in REQUIREMENTS)


def requirement(*ids: str) -> pytest.MarkDecorator:
    """Mark a test that fails if one of these promises is broken.

    Raises:
        ValueError: no such row, or none at all: a typo must not pass for a test.
    """
    unknown = [each for each in ids if each not in _IDS]
    if unknown or not ids:
        raise ValueError(f"There is no requirement {', '.join(unknown) or 'without a name'}.")
    return pytest.mark.requirement(*ids)
