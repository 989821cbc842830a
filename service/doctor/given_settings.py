"""The settings as they were given: what `kvorum serve` would say of them, all of it at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, ok, problem
from service.knobs import CONFIG_ENV
from service.settings import Settings, SettingsError
from service.settings_load import FlagParser, LoadedSettings, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SUBJECT = "settings"
_VARIABLE = re.compile(r"KVORUM_\w+")
_MAX_NAMED = 8


def read_settings(
    argv: Sequence[str], environ: Mapping[str, str], parser: FlagParser
) -> tuple[Settings | None, list[Finding]]:
    """None if they are wrong. The server stops at the first error; here a variable that is wrong is
    left out, to find the next one."""
    findings: list[Finding] = []
    loaded = _load(argv, environ, parser, findings)
    if loaded is None:  # a wrong flag or file hides the variables
        alone = {name: value for name, value in environ.items() if name != CONFIG_ENV}
        hidden: list[Finding] = []
        _load((), alone, parser, hidden)
        findings += [each for each in hidden if _named(each.text, alone) and each not in findings]
    if loaded is None or findings:
        return None, findings
    return loaded.settings, [summary(loaded)]


def _load(
    argv: Sequence[str], environ: Mapping[str, str], parser: FlagParser, findings: list[Finding]
) -> LoadedSettings | None:
    """The settings without the variables that are wrong; adds a finding for each error."""
    left = dict(environ)
    while True:
        try:
            return load(argv, left, parser=parser)
        except SettingsError as error:
            findings.append(problem(_SUBJECT, str(error), "`kvorum serve --help` has them all"))
            name = _named(str(error), left)
            if name is None:
                return None
            del left[name]


def _named(text: str, environ: Mapping[str, str]) -> str | None:
    """The variable of which an error tells."""
    match = _VARIABLE.search(text)
    return match[0] if match and match[0] in environ else None


def summary(loaded: LoadedSettings) -> Finding:
    """Where the settings come from."""
    given = [f"{path} ({source})" for path, source in loaded.sources.items() if source != "default"]
    if not given:
        return ok(_SUBJECT, "the defaults")
    more = f" and {len(given) - _MAX_NAMED} more" if len(given) > _MAX_NAMED else ""
    return ok(_SUBJECT, f"the defaults, but for {', '.join(given[:_MAX_NAMED])}{more}")
