"""The list of what is looked at, in order; each check on its own, so that none can hide another."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, note, of_error, problem
from service.doctor.given_settings import read_settings
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from engine.models.card import ModelCard
    from service.doctor.torch_facts import TorchFacts, TorchQuery
    from service.settings import ModelEntry
    from service.settings_load import FlagParser

    AskTorch = Callable[[TorchQuery], TorchFacts]


def examine(
    argv: Sequence[str],
    environ: Mapping[str, str],
    parser: FlagParser,
    *,
    ask_torch: AskTorch | None = None,
    root: Path = Path("/"),
) -> Iterator[Finding]:
    """Findings as they are made. `argv` are the flags of `kvorum serve`; `ask_torch` and `root`
    are another machine's in tests."""
    given, findings = read_settings(argv, environ, parser)
    yield from findings
    settings = given or Settings()
    yield from guarded("packages", _packages)
    yield from guarded("machine", partial(_machine, root, settings.engine.num_threads))
    models = _Models(settings if given else None)
    yield from guarded("model", models.look)
    ask_torch = ask_torch or partial(_ask_torch, environ)
    yield from guarded("torch", partial(_compute, settings, models.found, ask_torch, root))
    if given is None:
        yield note("rest", "model, memory, port and access are looked at once the settings hold")
    else:
        yield from guarded("hub", partial(_hub, models))
        yield from guarded("port", partial(_port, given))
        yield from guarded("access", partial(_access, given))
    yield from guarded("telemetry", partial(_telemetry, environ))


def guarded(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds, until it fails itself: that is a finding too."""
    try:
        yield from look()
    except ImportError as error:
        yield problem(
            subject, f"cannot be looked at: {error}", "install Kvorum again: a package is broken"
        )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        yield problem(subject, f"cannot be looked at: {reason}", "please report this as a bug")


class _Models:
    """The models of the settings, of which the later checks need the cards."""

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self.found: list[tuple[ModelEntry, ModelCard]] = []
        self.wants_download = False

    def look(self) -> Iterator[Finding]:
        """Their folders and texts."""
        from engine.models.errors import ModelError
        from service.doctor import models
        from service.local_model import NotDownloaded, card_of

        for entry in self._settings.entries if self._settings else ():
            try:
                card = card_of(entry)
            except NotDownloaded as error:
                self.wants_download = True
                yield note(models.SUBJECT, str(error))
            except ModelError as error:
                yield of_error(models.SUBJECT, error)
            else:
                self.found.append((entry, card))
                yield from guarded(models.SUBJECT, partial(models.folder, card))
                yield from guarded(models.SUBJECT, partial(models.text, card, entry))
        yield from models.names((card.name, entry.aliases) for entry, card in self.found)


def _packages() -> Iterator[Finding]:
    from service.doctor.packages import look_at_packages

    return look_at_packages()


def _machine(root: Path, num_threads: int) -> Iterator[Finding]:
    from service.doctor.machine import look_at_machine

    return look_at_machine(root, num_threads)


def _compute(
    settings: Settings,
    found: Sequence[tuple[ModelEntry, ModelCard]],
    ask_torch: AskTorch,
    root: Path,
) -> Iterator[Finding]:
    from service.doctor import devices, models
    from service.doctor.control_group import memory_room
    from service.doctor.torch_facts import ModelQuery, ProbeFailed, TorchQuery

    device = settings.model.device
    queries = tuple(ModelQuery(card, entry.dtype or "auto") for entry, card in found)
    try:
        facts = ask_torch(TorchQuery(device, queries))
    except ProbeFailed as error:
        yield problem("torch", f"torch and transformers: {error}", "install both again")
        return
    info = root / "proc/cpuinfo"
    flags = devices.cpu_flags(info.read_text()) if info.exists() else frozenset[str]()
    yield from devices.compute(facts, flags, device)
    room = memory_room(root)
    for (_, card), placement in zip(found, facts.placements, strict=False):
        yield models.memory(card, placement, room)


def _ask_torch(environ: Mapping[str, str], query: TorchQuery) -> TorchFacts:
    from service.doctor.torch_facts import ask

    return ask(query, environ)


def _hub(models: _Models) -> Iterator[Finding]:
    from service.doctor.hub import look_at_hub

    yield look_at_hub(models.wants_download)


def _port(settings: Settings) -> Iterator[Finding]:
    from service.doctor.network import port

    yield port(settings.server)


def _access(settings: Settings) -> Iterator[Finding]:
    from service.doctor.certificate import certificate
    from service.doctor.network import access

    yield from access(settings)
    yield certificate(settings.server.ssl_certfile, settings.server.ssl_keyfile, time.time())


def _telemetry(environ: Mapping[str, str]) -> Iterator[Finding]:
    from service.doctor.network import telemetry

    return telemetry(environ)
