"""Fills the Settings tree: default < configuration file < environment < flag.

Pure but for reading the files that the settings name. Each value is converted on its own, so that
an error can say where the value came from, and an unknown name gets the nearest known one.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from service.knobs import (
    BENCH_DATABASE_ENV,
    CONFIG_ENV,
    CONFIG_FLAG,
    ENV_PREFIX,
    Knob,
    add_flags,
    all_knobs,
)
from service.origins import origins_of
from service.settings import AuthSettings, ModelEntry, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# What Kubernetes puts into every pod beside a Service named "kvorum", or Docker beside a link
_SERVICE_LINK = re.compile(r"KVORUM_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP)(_.+)?)")


class LoadedSettings(msgspec.Struct, frozen=True):
    """The settings and, for each path ("server.port"), the name of the source that won."""

    settings: Settings
    sources: dict[str, str]


class FlagParser(argparse.ArgumentParser):
    """argparse that raises `SettingsError` instead of exiting; unknown flags get a suggestion."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see `{self.prog} --help`)")

    def parse_flags(self, argv: Sequence[str]) -> dict[str, Any]:
        """What was given, by path. `--help` prints and raises `SystemExit(0)`."""
        namespace, unknown = self.parse_known_args(list(argv))
        if unknown:
            known = [text for action in self._actions for text in action.option_strings]
            name = unknown[0].partition("=")[0]
            raise SettingsError(f"unknown argument {name}{_suggest(name, known)}")
        return vars(namespace)


def flag_parser(prog: str, description: str, epilog: str) -> FlagParser:
    """A parser with one flag for each knob."""
    parser = FlagParser(
        prog=prog,
        usage=f"{prog} [MODEL] [flags]",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(parser)
    return parser


def load(
    argv: Sequence[str],
    environ: Mapping[str, str],
    defaults: Settings | None = None,
    parser: FlagParser | None = None,
) -> LoadedSettings:
    """The effective settings.

    Raises:
        SettingsError: a name is unknown, a value is wrong, a file cannot be read.
    """
    parser = parser or flag_parser("kvorum serve", "", "")
    flags = parser.parse_flags(argv)
    config_path = flags.pop(CONFIG_FLAG.lstrip("-"), None) or environ.get(CONFIG_ENV)
    given: dict[str, tuple[Any, str]] = {}
    models: tuple[ModelEntry, ...] = ()
    if config_path:
        tables = _parse_file(Path(config_path))
        models = _models_of(tables.pop("models", []), config_path)
        given |= _from_file(tables, config_path)
    given |= _from_environ(environ)
    given |= {
        knob.path: (flags[knob.path], knob.name.upper() if knob.is_positional else knob.flag)
        for knob in all_knobs()
        if knob.path in flags
    }
    return _build(defaults or Settings(), given, models)


def _build(
    defaults: Settings, given: Mapping[str, tuple[Any, str]], models: tuple[ModelEntry, ...]
) -> LoadedSettings:
    values: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for knob in all_knobs():
        sources[knob.path] = "default"
        if knob.path in given:
            value, sources[knob.path] = given[knob.path]
            converted = _convert(knob, value, sources[knob.path])
            values.setdefault(knob.section, {})[knob.name] = converted
    sections = {
        section: msgspec.structs.replace(getattr(defaults, section), **changes)
        for section, changes in values.items()
    }
    settings: Settings = msgspec.structs.replace(
        defaults, **sections, models=models or defaults.models
    )
    if settings.auth.api_key_file is not None:
        sources["auth.api_key"] = settings.auth.api_key_file
        settings = msgspec.structs.replace(settings, auth=_with_key_from_file(settings.auth))
    _check(settings)
    return LoadedSettings(settings, sources)


def _convert(knob: Knob, value: Any, source: str) -> Any:
    """Errors never show the value: it may be a secret in the wrong place."""
    try:
        return msgspec.convert(value, knob.type, strict=False)
    except msgspec.ValidationError as error:
        if knob.choices:
            reason = f"must be one of {', '.join(knob.choices)}"
            reason += _suggest(str(value), knob.choices)
        elif knob.is_secret:
            reason = "must be printable ASCII without blanks, and not empty"
        elif "regex" in str(error):
            reason = f"must be {knob.description}"
        else:
            reason = f"{error} ({knob.description})"
        raise SettingsError(f"{source} ({knob.path}): {reason}") from None


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """An empty variable counts as unset, as OpenTelemetry has it; but an empty key is an error:
    a server must not stand open because a variable in a compose file was not filled."""
    by_env = {knob.env: knob for knob in all_knobs()}
    given: dict[str, tuple[Any, str]] = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or _is_other(name, value):
            continue
        knob = by_env.get(name)
        if knob is None:
            raise SettingsError(
                f"unknown environment variable {name}{_suggest(name, [*by_env, CONFIG_ENV])}"
            )
        if value or knob.is_secret:
            given[knob.path] = (value, name)
    return given


def _is_other(name: str, value: str) -> bool:
    """One of ours that is no setting of a server, or one of Kubernetes'."""
    return name in (CONFIG_ENV, BENCH_DATABASE_ENV) or _is_service_link(name, value)


def _is_service_link(name: str, value: str) -> bool:
    if name == "KVORUM_PORT":
        return value.startswith(("tcp://", "udp://"))
    return _SERVICE_LINK.fullmatch(name) is not None


def _models_of(tables: Any, path: str) -> tuple[ModelEntry, ...]:
    try:
        return msgspec.convert(tables, tuple[ModelEntry, ...], strict=False)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$[", "`models[")
        raise SettingsError(f"{path}: [[models]]: {text}") from None


def _from_file(tables: Mapping[str, Any], path: str) -> dict[str, tuple[Any, str]]:
    knobs = {knob.path: knob for knob in all_knobs()}
    sections = list(dict.fromkeys(knob.section for knob in knobs.values()))
    given: dict[str, tuple[Any, str]] = {}
    for section, entries in tables.items():
        if section not in sections:
            owner = [knob.path for knob in knobs.values() if knob.name == section]
            hint = f"; did you mean {owner[0]}?" if owner else _suggest(section, sections)
            raise SettingsError(f"{path}: unknown section [{section}]{hint}")
        if not isinstance(entries, dict):
            raise SettingsError(f"{path}: [{section}] must be a table of settings")
        for name, value in entries.items():
            key = f"{section}.{name}"
            if key not in knobs:
                raise SettingsError(f"{path}: unknown setting {key}{_suggest(key, knobs)}")
            given[key] = (value, path)
    return given


def _parse_file(path: Path) -> dict[str, Any]:
    text = _read(path, "configuration file")
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SettingsError(f"{path}: not valid {kind}: {error}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: must hold one table for each section")
    return data


def _with_key_from_file(auth: AuthSettings) -> AuthSettings:
    assert auth.api_key_file is not None
    if auth.api_key is not None:
        raise SettingsError("api_key and api_key_file are both given: which one is it?")
    key = _read(Path(auth.api_key_file), "API key file").strip()
    knob = next(knob for knob in all_knobs() if knob.name == "api_key")
    return msgspec.structs.replace(auth, api_key=_convert(knob, key, auth.api_key_file))


def _check(settings: Settings) -> None:
    server = settings.server
    if (server.ssl_certfile is None) != (server.ssl_keyfile is None):
        raise SettingsError("TLS needs both --ssl-certfile and --ssl-keyfile")
    for flag, name in (
        ("--ssl-certfile", server.ssl_certfile),
        ("--ssl-keyfile", server.ssl_keyfile),
    ):
        if name is not None and not Path(name).is_file():
            raise SettingsError(f"{flag}: there is no file {name}")
    try:
        origins_of(server.cors_origins)
    except ValueError as error:
        raise SettingsError(f"--cors-origins: {error}") from None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{what} {path}: not a text file (UTF-8)") from None
    except OSError as error:
        raise SettingsError(f"{what} {path}: {error.strerror or 'cannot be read'}") from None


def _suggest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""
