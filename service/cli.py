"""The command `kvorum`: reads the settings, resolves the model, serves, returns an exit code.

Nothing heavy is imported before the settings are known to be good. Every error at the start is a
line or two on stderr that say what to do; a traceback is a bug.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING

from service.knobs import all_knobs
from service.settings import SettingsError, redact
from service.settings_load import FlagParser, LoadedSettings, flag_parser, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


EXIT_OK = 0
EXIT_USAGE = 2
EXIT_MODEL = 3
EXIT_BIND = 4
EXIT_INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0  ended on request (SIGTERM, Ctrl-C)
  1  the engine died while it served
  2  wrong usage or settings
  3  the model was not found, or its architecture is not supported
  4  the address cannot be listened on: the port is taken
  5  the engine could not start: memory is short, weights are broken
  130  stopped at once by a second Ctrl-C
"""

_HELP = """\
usage: kvorum COMMAND [flags]

Serves language models behind an OpenAI-compatible API.

commands:
  serve [MODEL]   serve a model: the embedded kvorum-mini, a local folder or a hub id
  config          print the effective settings and where each one came from
  version         print the version

`kvorum serve --help` explains every setting.
"""

_SERVE_DESCRIPTION = """\
Serve MODEL behind an OpenAI-compatible API: chat completions, models, health, metrics.

Each setting is a flag, a KVORUM_* variable and an entry of the configuration file; a flag goes
before a variable, a variable before the file. Traces are switched by the standard OTEL_* variables.
"""

_SERVE_EPILOG = f"""\
examples:
  kvorum serve
      the embedded model on http://127.0.0.1:8000
  KVORUM_API_KEY=$(openssl rand -hex 16) kvorum serve ./my-model --host 0.0.0.0 --dtype bfloat16
      a local model for the whole network, with a key

{EXIT_CODES}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. `--help` raises `SystemExit(0)` as argparse has it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    try:
        match command:
            case "serve":
                return _serve(rest, os.environ)
            case "config":
                return _config(rest, os.environ)
            case "version" | "--version":
                print(f"kvorum {_version()}")
                return EXIT_OK
            case "help" | "--help" | "-h":
                print(_HELP, end="")
                return EXIT_OK
            case _:
                return _fail(EXIT_USAGE, f"unknown command {command}; see `kvorum --help`")
    except SettingsError as error:
        return _fail(EXIT_USAGE, str(error))
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted")


def _serve(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    settings = load(argv, environ, parser=serve_parser()).settings
    # From here on, because importing them takes longer than telling of a wrong setting.
    from engine.models.errors import ModelError
    from engine.models.registry import resolve
    from engine.text.errors import TextError
    from observability.log import configure_logging
    from observability.tracing import Tracing
    from service.server import CannotBind, bind, serve

    configure_logging(settings.telemetry.log_level, settings.telemetry.log_format == "json")
    tracing = Tracing.from_environment(environ, service_version=_version())
    try:
        with bind(settings.server) as listener:
            card = resolve(settings.model.model, settings.model.served_model_name)
            return serve(settings, card, listener, version=_version(), tracing=tracing)
    except CannotBind as error:
        return _fail(EXIT_BIND, str(error))
    except (ModelError, TextError) as error:
        return _fail(EXIT_MODEL, str(error))
    finally:
        tracing.shutdown()


def serve_parser() -> FlagParser:
    """The parser of `kvorum serve`, for its help."""
    return flag_parser("kvorum serve", _SERVE_DESCRIPTION, _SERVE_EPILOG)


def _config(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    description = "Print the effective settings; takes the flags of `kvorum serve`."
    loaded = load(argv, environ, parser=flag_parser("kvorum config", description, ""))
    print(format_config(loaded), end="")
    return EXIT_OK


def format_config(loaded: LoadedSettings) -> str:
    """TOML that `--config` takes again, but for secrets; the source stands behind each entry."""
    import msgspec

    lines: list[str] = []
    section = ""
    for knob in all_knobs():
        if knob.section != section:
            section = knob.section
            lines += [""] * bool(lines) + [f"[{section}]"]
        value = getattr(getattr(loaded.settings, knob.section), knob.name)
        shown = redact(value) if knob.is_secret else value
        # A JSON string is a TOML string; TOML has no null, so what is not set is a comment.
        entry = "# " if shown is None or knob.is_secret else ""
        entry += f"{knob.name} = {'' if shown is None else msgspec.json.encode(shown).decode()}"
        lines.append(f"{entry.rstrip():<40}  # {loaded.sources[knob.path]}")
    return "\n".join(lines) + "\n"


def _version() -> str:
    try:
        return distribution_version("kvorum")
    except PackageNotFoundError:
        return "(not installed)"


def _fail(code: int, message: str) -> int:
    print(f"kvorum: {message}", file=sys.stderr)
    return code
