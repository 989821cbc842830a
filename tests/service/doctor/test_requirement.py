"""Requirements: which versions will do, as metadata writes them."""

from __future__ import annotations

import importlib.metadata

import pytest

from service.doctor.requirement import parse, release_of


@pytest.mark.parametrize(
    ("requirement", "version", "is_met"),
    [
        ("anyio<5,>=4.9", "4.9", True),
        ("anyio<5,>=4.9", "4.9.0", True),
        ("anyio<5,>=4.9", "4.12.1", True),
        ("anyio<5,>=4.9", "4.8.9", False),
        ("anyio<5,>=4.9", "5.0", False),
        ("torch<2.14,>=2.11", "2.13.0+cpu", True),
        ("torch<2.14,>=2.11", "2.14.0", False),
        ("x==1.2", "1.2.0", True),
        ("x!=1.2", "1.2", False),
        ("x>1,<=2", "2.0", True),
        ("x>1,<=2", "1.0", False),
        ("x", "0.0.1", True),
        ("httpx[http2] >= 0.28", "0.28.1", True),
        ("x (>=1)", "0.9", False),
    ],
)
def test_a_version_is_in_its_range_or_not(requirement: str, version: str, is_met: bool) -> None:
    assert parse(requirement).is_met_by(version) is is_met


def test_a_marker_makes_it_optional() -> None:
    assert parse('uvloop>=1; extra == "fast"').is_optional
    assert not parse("anyio>=4").is_optional


def test_what_is_no_requirement_is_refused() -> None:
    for text in ("", ">=1", "x~=1", "x>=1,y"):
        with pytest.raises(ValueError, match=r"no requirement|not understood"):
            parse(text)


def test_all_that_kvorum_needs_is_understood() -> None:
    for text in importlib.metadata.requires("kvorum") or []:
        assert parse(text).bounds


def test_the_release_is_what_stands_before_anything_else() -> None:
    assert release_of("2.13.0+cpu") == (2, 13, 0)
    assert release_of("5.0rc1") == (5, 0)
    assert release_of("unknown") == ()
