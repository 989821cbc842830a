"""Python, the distributions that Kvorum needs, and whether its own packages are its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, note, ok, problem
from service.doctor.requirement import parse, release_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OUR_PACKAGES = ("service", "engine", "observability")

_OLDEST_PYTHON = (3, 11)
_TRIED_PYTHONS = ((3, 11), (3, 12))
_INSTALL = "install Kvorum again: make setup, or pip install --force-reinstall in this environment"


def look_at_packages() -> Iterator[Finding]:
    """Everything of this module, about this interpreter."""
    yield python(sys.version_info[:3], sys.executable)
    requirements = _requirements()
    yield from distributions(requirements, _versions(requirements or []))
    listed = importlib.metadata.packages_distributions()
    root = Path(__file__).resolve().parents[2]
    strange: list[Finding] = []
    for name in OUR_PACKAGES:
        owners = [owner for owner in listed.get(name, []) if _is_under(root, owner, name)]
        strange += ownership(name, owners, _root_of(name), root)
    yield from strange or [ok("kvorum", f"{', '.join(OUR_PACKAGES)} are its own, in {root}")]


def python(version: tuple[int, ...], executable: str) -> Finding:
    """The interpreter's version."""
    text = f"{'.'.join(map(str, version))} ({executable})"
    if version[:2] < _OLDEST_PYTHON:
        return problem("python", f"{text} is too old", "make a new environment with 3.11 or 3.12")
    if version[:2] not in _TRIED_PYTHONS:
        return note("python", f"{text} is newer than what Kvorum is tried with (3.11, 3.12)")
    return ok("python", text)


def distributions(
    requirements: Sequence[str] | None, versions: Mapping[str, str | None]
) -> Iterator[Finding]:
    """A line for all that are right and one for each that is not. `requirements` is None if Kvorum
    itself is not installed; `versions` are by name, None for what is not there."""
    if requirements is None:
        yield note(
            "packages", "Kvorum runs without being installed: versions are not checked", _INSTALL
        )
        return
    num_right = 0
    for requirement in map(parse, requirements):
        version = versions.get(requirement.name)
        wanted = f"Kvorum needs {requirement.name} {requirement.shown_bounds}"
        install = f"pip install '{requirement.name}{_bounds_for_pip(requirement.shown_bounds)}'"
        if version is None and not requirement.is_optional:
            yield problem("packages", f"{wanted}, and it is not installed", install)
        elif version is not None and not release_of(version):
            yield note("packages", f"{wanted}; what version {version} is cannot be told")
        elif version is not None and not requirement.is_met_by(version):
            yield problem("packages", f"{wanted}, and {version} is installed", install)
        else:
            num_right += 1
    yield ok("packages", f"{num_right} of {len(requirements)} needed ones are there, in range")


def ownership(
    name: str, owners: Sequence[str], found: Path | None, root: Path
) -> Iterator[Finding]:
    """A problem if the package `name` is not ours: it lies elsewhere than `root`, or another
    distribution (there are some of the same names) has put files into it."""
    others = [owner for owner in dict.fromkeys(owners) if owner.lower() != "kvorum"]
    if found is None:
        yield problem("kvorum", f"its package {name} cannot be imported", _INSTALL)
    elif found != root:
        yield problem(
            "kvorum",
            f"its package {name} is taken from {found}, not from {root}",
            "start in another folder, take that one off PYTHONPATH, or uninstall what brought it",
        )
    elif others:
        yield problem(
            "kvorum",
            f"{others[0]} has installed a package {name} over Kvorum's",
            f"pip uninstall {others[0]}, then {_INSTALL}",
        )


def _bounds_for_pip(bounds: str) -> str:
    return "" if bounds == "any version" else bounds


def _requirements() -> list[str] | None:
    try:
        return importlib.metadata.requires("kvorum") or []
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions(requirements: Sequence[str]) -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in (parse(text).name for text in requirements):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _is_under(root: Path, distribution: str, package: str) -> bool:
    """Whether the distribution's own `package` is a folder of `root`, and not one elsewhere."""
    place = importlib.metadata.distribution(distribution).locate_file(package)
    return Path(str(place)).resolve().parent == root


def _root_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]).resolve().parent if places else None
