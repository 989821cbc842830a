"""The knobs as a table, derived from the Settings tree: one row for each field.

Everything that names a knob is made from these rows: flags and their help, `KVORUM_*` variables,
entries of the configuration file, docs/settings.md. Nothing here reads or parses a value.
"""

from __future__ import annotations

import argparse
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from service.settings import ModelEntry, Settings

ENV_PREFIX = "KVORUM_"
CONFIG_FLAG = "--config"
CONFIG_ENV = ENV_PREFIX + "CONFIG"
BENCH_DATABASE_ENV = ENV_PREFIX + "BENCH_DB"
"""No setting of a server: where `kvorum bench` keeps its results."""

_CONFIG_HELP = "TOML or JSON file with the settings of this page, one table for each section"


class Knob(msgspec.Struct, frozen=True, kw_only=True):
    """One setting and all its names."""

    section: str
    name: str
    type: Any
    """The annotated type, for `msgspec.convert`."""
    description: str
    default: str | bool | int | float | None
    choices: tuple[str, ...] = ()
    is_secret: bool = False
    is_positional: bool = False

    @property
    def path(self) -> str:
        """Its place in the file: "server.port"."""
        return f"{self.section}.{self.name}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper()

    @property
    def shown_default(self) -> str:
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return "none" if self.default is None else str(self.default)


def all_knobs() -> tuple[Knob, ...]:
    """Every knob, in the order of the tree."""
    return tuple(
        _knob(section.name, field, hint)
        for section, struct in _sections()
        for field, hint in _fields(struct)
    )


def section_titles() -> dict[str, str]:
    """Section name to its title: the first line of the Struct's docstring."""
    return {
        section.name: (struct.__doc__ or section.name).splitlines()[0]
        for section, struct in _sections()
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each knob, grouped; what is not given stays absent."""
    general = parser.add_argument_group("Configuration file")
    general.add_argument(
        CONFIG_FLAG,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"{_CONFIG_HELP} [env {CONFIG_ENV}]",
    )
    titles = section_titles()
    groups = {name: parser.add_argument_group(title) for name, title in titles.items()}
    for knob in all_knobs():
        help_text = f"{knob.description} [default {knob.shown_default}; env {knob.env}]"
        help_text = help_text.replace("%", "%%")
        group = groups[knob.section]
        if knob.is_positional:
            group.add_argument(
                knob.path,
                nargs="?",
                metavar=knob.name.upper(),
                default=argparse.SUPPRESS,
                help=help_text,
            )
        else:
            group.add_argument(
                knob.flag,
                dest=knob.path,
                metavar=_metavar(knob),
                default=argparse.SUPPRESS,
                help=help_text,
            )


def describe() -> str:
    """docs/settings.md: one table for each section."""
    lines = [
        "# Settings",
        "",
        "Generated from `service/settings.py`; do not edit.",
        "",
        "Precedence: default < configuration file < environment variable < flag. The file is "
        f"TOML or JSON, named by `{CONFIG_FLAG} FILE` or `{CONFIG_ENV}`, with one table for each "
        "section below. An unknown name anywhere is an error. `kvorum config` prints the "
        "effective settings and where each one came from.",
    ]
    for section, title in section_titles().items():
        lines += ["", f"## {title}: `[{section}]`", ""]
        lines += ["| file entry | flag | variable | default | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{knob.name}` | `{'MODEL' if knob.is_positional else knob.flag}` | `{knob.env}` "
            f"| `{knob.shown_default}` | {_meaning(knob)} |"
            for knob in all_knobs()
            if knob.section == section
        ]
    lines += ["", "## Further models: `[[models]]`", ""]
    lines += ["A table of the file for each. What is not said is as for the first model.", ""]
    lines += ["| entry | meaning |", "|---|---|"]
    lines += [
        f"| `{field.name}` | {get_args(hint)[-1].description} |"
        for field, hint in _fields(ModelEntry)
    ]
    return "\n".join(lines) + "\n"


def _meaning(knob: Knob) -> str:
    choices = f" ({', '.join(knob.choices)})" if knob.choices else ""
    return knob.description.replace("|", "\\|") + choices


def _metavar(knob: Knob) -> str:
    if knob.choices:
        return "{" + ",".join(knob.choices) + "}"
    if isinstance(knob.default, bool):
        return "{true,false}"
    is_number = isinstance(knob.default, int | float)
    return "N" if is_number else "TEXT"


def _sections() -> list[tuple[msgspec.structs.FieldInfo, type[msgspec.Struct]]]:
    hints = get_type_hints(Settings)
    fields = [field for field in msgspec.structs.fields(Settings) if field.name != "models"]
    return [(field, hints[field.name]) for field in fields]


def _fields(struct: type[msgspec.Struct]) -> list[tuple[msgspec.structs.FieldInfo, Any]]:
    hints = get_type_hints(struct, include_extras=True)
    return [(field, hints[field.name]) for field in msgspec.structs.fields(struct)]


def _knob(section: str, field: msgspec.structs.FieldInfo, hint: Any) -> Knob:
    assert get_origin(hint) is Annotated, f"{section}.{field.name} has no description"
    plain, meta = get_args(hint)
    return Knob(
        section=section,
        name=field.name,
        type=hint,
        description=meta.description,
        default=field.default,
        choices=get_args(plain) if get_origin(plain) is Literal else (),
        **(meta.extra or {}),
    )
