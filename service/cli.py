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
EXIT_PROBLEM = 1
EXIT_USAGE = 2
EXIT_MODEL = 3
EXIT_BIND = 4
EXIT_INTERRUPTED = 130

_JSON_FLAG = "--json"

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
  doctor [MODEL]  look at this machine, the settings and the model: what is wrong, what to do
  models [MODEL]  list the models that would be served; with --url those of a running server
  bench COMMAND   measure any OpenAI-compatible server, compare two, keep the results
  config          print the effective settings and where each one came from
  version         print the version

`kvorum serve --help` explains every setting; the other commands take the same flags.
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


_DOCTOR_DESCRIPTION = """\
Look at Python and the packages, the machine, the model, the address and the collector of traces,
with the settings that `kvorum serve` would have. Nothing is changed and nothing is downloaded.
"""

_DOCTOR_EPILOG = """\
exit codes:
  0  no problem; there may be notes
  1  a problem, each with a line that says what to do
"""

_MODELS_DESCRIPTION = """\
List the models that `kvorum serve` would serve with these settings, without downloading any; with
--url, what a running server lists, asked with --api-key.
"""

_MODELS_EPILOG = """\
exit codes:
  0  listed
  1  the server at --url does not tell
  2  wrong usage or settings
  3  a model was not found, or its architecture is not supported
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. `--help` raises `SystemExit(0)` as argparse has it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    commands = {
        "serve": _serve,
        "doctor": _doctor,
        "models": _models,
        "bench": _bench,
        "config": _config,
    }
    try:
        if command in commands:
            return commands[command](rest, os.environ)
        if command in ("version", "--version"):
            print(f"kvorum {_version()}")
            return EXIT_OK
        if command in ("help", "--help", "-h"):
            print(_HELP, end="")
            return EXIT_OK
        return _fail(EXIT_USAGE, f"unknown command {command}; see `kvorum --help`")
    except SettingsError as error:
        return _fail(EXIT_USAGE, str(error))
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted")
    except BrokenPipeError:  # `kvorum doctor | head`; the interpreter would try once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


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


def _doctor(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = flag_parser("kvorum doctor", _DOCTOR_DESCRIPTION, _DOCTOR_EPILOG)
    _add_json(parser)
    is_json = _JSON_FLAG in argv
    from service.doctor.examination import examine
    from service.doctor.report import lines_of, report_of, summary

    findings = []
    for finding in examine(argv, environ, parser):
        findings.append(finding)
        if not is_json:
            print(lines_of(finding), flush=True)
    report = report_of(findings, _version())
    print(_json(report) if is_json else f"\n{summary(report)}")
    return EXIT_PROBLEM if report.num_problems else EXIT_OK


def _models(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = flag_parser("kvorum models", _MODELS_DESCRIPTION, _MODELS_EPILOG)
    _add_json(parser)
    parser.add_argument("--url", metavar="URL", help="a running server: http://127.0.0.1:8000")
    settings = load(argv, environ, parser=parser).settings
    url, is_json = parser.parse_flags(argv)["url"], _JSON_FLAG in argv
    from engine.models.errors import ModelError
    from service.local_model import card_of
    from service.models_table import listed, table
    from service.remote_models import CannotAsk, ask, remote_table

    try:
        if url is not None:
            answer = ask(url, settings.auth.api_key)
            print(_json({"data": answer}) if is_json else remote_table(answer).rstrip())
            return EXIT_OK
        models = listed([(card_of(entry), entry.aliases) for entry in settings.entries])
    except CannotAsk as error:
        return _fail(EXIT_PROBLEM, str(error))
    except ModelError as error:
        return _fail(EXIT_MODEL, str(error))
    print(_json({"data": models}) if is_json else table(models).rstrip())
    return EXIT_OK


def _bench(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    from observability.bench.errors import BenchError, WrongOption
    from service.bench.command import lines_of

    try:
        for text in lines_of(argv, environ):
            print(text, flush=True)
    except WrongOption as error:
        return _fail(EXIT_USAGE, str(error))
    except BenchError as error:
        return _fail(EXIT_PROBLEM, str(error))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else EXIT_OK
    return EXIT_OK


def _add_json(parser: FlagParser) -> None:
    parser.add_argument(_JSON_FLAG, action="store_true", help="print JSON, for programs")


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()


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
