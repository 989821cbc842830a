"""Every knob of the server, once: the frozen tree that flags, variables and files fill.

Names, types, bounds and descriptions stand here and nowhere else; `service.knobs` derives flags,
`KVORUM_*` variables, file entries, `--help` and docs/settings.md from them. A field's name is
unique in the whole tree, because flags and variables do not carry the section. A new knob needs an
owner and a measurement: there are few on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from engine.text.reasoning_parsers.select import REASONING_PARSER_NAMES
from engine.text.tool_parsers.select import TOOL_PARSER_NAMES

DEFAULT_MODEL = "kvorum-mini"

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
EngineMode = Literal["process", "inline"]
Policy = Literal["fifo", "priority", "dynamic"]
InputValidation = Literal["strict", "lenient"]
Number = TypeVar("Number", int, float)
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
if TYPE_CHECKING:
    ToolParserName = str
    ReasoningParserName = str
else:  # their names stand in the parsers' tables only
    ToolParserName = Literal["auto", "none", *TOOL_PARSER_NAMES]
    ReasoningParserName = Literal["auto", "none", *REASONING_PARSER_NAMES]


class SettingsError(Exception):
    """A setting is unknown or wrong; the text names it, its source and what to do."""


def redact(secret: str | None) -> str | None:
    """The last 4 characters, or nothing of a secret so short that 4 would give it away."""
    if secret is None:
        return None
    return f"…{secret[-4:]}" if len(secret) >= 12 else "…"


class _Section(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False
):
    """One table of the configuration file and one group of `--help`."""


class ModelSettings(_Section, frozen=True):
    """Model"""

    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="what to serve: an embedded model's name, a local folder or a hub id",
            extra={"is_positional": True},
        ),
    ] = DEFAULT_MODEL
    served_model_name: Annotated[
        str | None,
        Meta(description="the name clients use; by default the model's own or its folder's"),
    ] = None
    device: Annotated[
        str,
        Meta(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N"),
    ] = "auto"
    dtype: Annotated[Dtype, Meta(description="type of the weights; auto suits the device")] = "auto"
    max_model_len: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="context in tokens; 0 takes the model's own"),
    ] = 0
    tool_call_parser: Annotated[
        ToolParserName,
        Meta(
            description="the form of the model's tool calls; auto: the one that its chat template "
            "shows; none: calls stay in the text"
        ),
    ] = "auto"
    reasoning_parser: Annotated[
        ReasoningParserName,
        Meta(
            description="the form of the model's reasoning; auto: the one that its chat template "
            "shows; none: reasoning stays in the text"
        ),
    ] = "auto"
    more_models: Annotated[
        str,
        Meta(
            description="further models, loaded when they are asked for: MODEL or NAME=MODEL each, "
            "blanks between; the file's [[models]] tables say more of each"
        ),
    ] = ""
    model_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=31_536_000,
            description="idle seconds after which a model is unloaded; 0: never",
        ),
    ] = 0.0
    model_memory_gib: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="GiB that weights and caches of all models may take together; idle ones "
            "make room; 0: what the device has",
        ),
    ] = 0.0


class ModelEntry(_Section, frozen=True):
    """Further models. What is not said is as for the first one."""

    model: Annotated[
        str, Meta(min_length=1, description="an embedded model's name, a local folder or a hub id")
    ]
    name: Annotated[
        str | None, Meta(description="the name clients use; by default its own or its folder's")
    ] = None
    aliases: Annotated[tuple[str, ...], Meta(description="more names that clients may use")] = ()
    pinned: Annotated[bool, Meta(description="true: it is never unloaded to make room")] = False
    model_timeout: Annotated[
        Annotated[float, Meta(ge=0, le=31_536_000)] | None,
        Meta(description="idle seconds after which it is unloaded; 0: never"),
    ] = None
    dtype: Annotated[Dtype | None, Meta(description="type of its weights")] = None
    max_model_len: Annotated[
        Annotated[int, Meta(ge=0, le=10_000_000)] | None, Meta(description="its context in tokens")
    ] = None
    num_blocks: Annotated[
        Annotated[int, Meta(ge=0, le=10_000_000)] | None, Meta(description="its KV cache blocks")
    ] = None
    tool_call_parser: Annotated[
        ToolParserName | None, Meta(description="the form of its tool calls")
    ] = None
    reasoning_parser: Annotated[
        ReasoningParserName | None, Meta(description="the form of its reasoning")
    ] = None


class ServerSettings(_Section, frozen=True):
    """Server"""

    host: Annotated[
        str, Meta(min_length=1, description="address to listen on; 0.0.0.0 or :: for all")
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="port to listen on; 0 takes a free one")
    ] = 8000
    ssl_certfile: Annotated[
        str | None, Meta(description="PEM file of the certificate chain; switches TLS on")
    ] = None
    ssl_keyfile: Annotated[str | None, Meta(description="PEM file of the private key")] = None
    enable_cors: Annotated[
        bool, Meta(description="true: web pages of other origins may call the API (CORS)")
    ] = False
    cors_origins: Annotated[
        str,
        Meta(
            description="whose pages may, if enable_cors is on: origins such as "
            "https://example.com, with commas between; * for all"
        ),
    ] = "*"
    drain_timeout_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="seconds that running requests get to finish after SIGTERM or Ctrl-C",
        ),
    ] = 30.0


class AuthSettings(_Section, frozen=True):
    """Access"""

    api_key: Annotated[
        Annotated[str, Meta(pattern=r"^[\x21-\x7e]+$")] | None,
        Meta(
            description="key that clients must send as 'Authorization: Bearer …'; "
            "other users of the machine can read a flag, so prefer the variable or the file",
            extra={"is_secret": True},
        ),
    ] = None
    api_key_file: Annotated[
        str | None, Meta(description="file that holds the key, instead of --api-key")
    ] = None

    def __repr__(self) -> str:
        return f"AuthSettings(api_key={redact(self.api_key)!r}, api_key_file={self.api_key_file!r})"


class EngineSettings(_Section, frozen=True):
    """Engine"""

    num_blocks: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="KV cache blocks; 0 sizes the cache to the memory"),
    ] = 0
    max_batch_tokens: Annotated[
        int, Meta(ge=1, le=1_000_000, description="tokens computed in one step, at most")
    ] = 512
    max_running: Annotated[
        int, Meta(ge=1, le=100_000, description="requests that run at once, at most")
    ] = 256
    max_waiting: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="requests that wait, at most; more get 429"),
    ] = 1024
    max_waiting_tokens: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000_000,
            description="prompt tokens of all requests together, at most; more get 429",
        ),
    ] = 1_000_000
    scheduling: Annotated[
        Policy,
        Meta(
            description="who is served next: fifo, the first come; priority, the most urgent; "
            "dynamic, tenants in turn and short prompts first"
        ),
    ] = "fifo"
    continuous_batching: Annotated[
        bool, Meta(description="false: one request at a time, from its first token to its last")
    ] = True
    num_threads: Annotated[
        int, Meta(ge=0, le=1024, description="CPU threads of a step; 0 chooses")
    ] = 0
    engine_mode: Annotated[
        EngineMode,
        Meta(
            description="process: the engine runs beside HTTP and is started again when it dies; "
            "inline: in HTTP's own process, for debugging"
        ),
    ] = "process"
    step_timeout_s: Annotated[
        float,
        Meta(gt=0, le=86_400, description="seconds after which a step counts as hung"),
    ] = 120.0


class LimitSettings(_Section, frozen=True):
    """Limits of one request"""

    request_timeout_s: Annotated[
        float, Meta(gt=0, le=86_400, description="seconds from arrival to the last token, at most")
    ] = 600.0
    max_body_bytes: Annotated[
        int, Meta(ge=1024, le=2**30, description="bytes of a JSON body, at most; more get 413")
    ] = 4 * 2**20
    body_timeout_s: Annotated[
        float,
        Meta(gt=0, le=3600, description="seconds a body may stand still while it arrives"),
    ] = 30.0
    input_validation: Annotated[
        InputValidation,
        Meta(
            description="strict: a field that is not known is 422; "
            "lenient: it is ignored and named in a `warning` header"
        ),
    ] = "strict"
    max_json_nesting: Annotated[
        int, Meta(ge=8, le=256, description="levels of a JSON body, at most; more get 400")
    ] = 64
    max_messages: Annotated[
        int, Meta(ge=1, le=1_000_000, description="messages of a chat, at most; more get 422")
    ] = 2048
    max_choices: Annotated[
        int, Meta(ge=1, le=128, description="answers that `n` may ask for; more get 422")
    ] = 16
    max_stop_strings: Annotated[
        int, Meta(ge=1, le=1024, description="stop strings, at most; more get 422")
    ] = 16
    max_stop_chars: Annotated[
        int, Meta(ge=1, le=65_536, description="characters of a stop string, at most")
    ] = 256
    max_logit_bias: Annotated[
        int, Meta(ge=0, le=1_000_000, description="entries of `logit_bias`, at most")
    ] = 1024
    max_top_logprobs: Annotated[
        int, Meta(ge=0, le=20, description="what `top_logprobs` may ask for; more get 422")
    ] = 20
    max_metadata: Annotated[
        int, Meta(ge=0, le=1024, description="pairs of `metadata`, at most; more get 422")
    ] = 16
    max_tools: Annotated[
        int, Meta(ge=1, le=65_536, description="tools of a request, at most; more get 422")
    ] = 128
    max_tool_schema_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=2**24,
            description="bytes of a JSON schema, a tool's or another; more get 413",
        ),
    ] = 64 * 1024


class TelemetrySettings(_Section, frozen=True):
    """Logs (traces are switched by the standard OTEL_* variables)"""

    log_level: Annotated[LogLevel, Meta(description="least severe level that is logged")] = "info"
    log_format: Annotated[
        LogFormat, Meta(description="text for people, json for collectors; both on stderr")
    ] = "text"


class Settings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False
):
    """All settings; `repr` shows of secrets the last 4 characters at most."""

    model: ModelSettings = ModelSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    models: tuple[ModelEntry, ...] = ()

    @property
    def further_models(self) -> tuple[ModelEntry, ...]:
        """All but the first, those of `--more-models` before those of the file."""
        named = [text.rpartition("=") for text in self.model.more_models.split()]
        return (
            *(ModelEntry(model=model, name=name or None) for name, _, model in named),
            *self.models,
        )

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """All models, the first one too, with what the others take from it."""
        first = self.model
        named = ModelEntry(
            model=first.model, name=first.served_model_name, max_model_len=first.max_model_len
        )
        return tuple(
            msgspec.structs.replace(
                entry,
                model_timeout=_given(entry.model_timeout, first.model_timeout),
                dtype=entry.dtype or first.dtype,
                num_blocks=_given(entry.num_blocks, self.engine.num_blocks),
                tool_call_parser=entry.tool_call_parser or first.tool_call_parser,
                reasoning_parser=entry.reasoning_parser or first.reasoning_parser,
            )
            for entry in (named, *self.further_models)
        )


def _given(value: Number | None, default: Number) -> Number:
    """0 is a value too."""
    return default if value is None else value
