"""Names of span attributes, as OpenTelemetry's semantic conventions spell them.

`http.*`, `url.*`, `server.*`, `network.*` and `error.type` are stable (schema 1.44.0).
Every `gen_ai.*` name is still "Development" and has moved to
open-telemetry/semantic-conventions-genai, which has no release; these are the names latest seen
there in November 2026. The Python constants package marks all of them deprecated, hence plain
strings here, and one test that pins the list. `kvorum.*` names are ours.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# HTTP (stable)
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Other methods become OTHER_METHOD: a client could otherwise invent series without end."""
OTHER_METHOD: Final = "_OTHER"

# Generative AI (development)
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"

PROVIDER_NAME: Final = "kvorum"

# Ours
KVORUM_REQUEST_ID: Final = "kvorum.request.id"
KVORUM_CLIENT_LEFT: Final = "kvorum.client.left"
KVORUM_PREEMPTIONS: Final = "kvorum.preemptions"
KVORUM_PREFILL_CHUNKS: Final = "kvorum.prefill.chunks"
KVORUM_PREFILL_TOKENS: Final = "kvorum.prefill.tokens"
KVORUM_DECODE_STEPS: Final = "kvorum.decode.steps"
KVORUM_QUEUE_INDEX: Final = "kvorum.queue.index"

EVENT_FIRST_TOKEN: Final = "first_token"
