"""Keeping runs, in both databases, for real."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bench.errors import CannotKeep
from observability.bench.measured import Measured
from observability.bench.run import Run, Sample
from observability.bench.store.run_rows import without_password
from observability.bench.store.schema import REQUEST_COLUMNS, VERSION
from observability.bench.store.select import open_store
from tests.observability.bench.a_run import a_run
from tests.observability.bench.postgres_server import (
    PASSWORD,
    PostgresServer,
    postgres_server,
    programs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIGURES = {"p99_ttft_ms": 123.456, "output_tokens_per_s": 1e3 / 3, "goodput": math.inf}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with postgres_server(folder) as server:
        yield server


@pytest.fixture
def postgres_address(postgres: PostgresServer) -> str:
    return new_database(postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that is not there yet, or is empty."""
    if request.param == "postgres":
        return new_database(request.getfixturevalue("postgres"))
    return str(tmp_path / "a" / "folder" / "bench.sqlite")


def new_database(postgres: PostgresServer) -> str:
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.url(name)


def rows(address: str, sql: str) -> list[Any]:
    """What somebody with SQL sees."""
    connect: Callable[..., Any] = sqlite3.connect if "://" not in address else psycopg.connect
    connection = connect(address)
    try:
        return list(connection.execute(sql).fetchall())
    finally:
        connection.close()


def test_a_run_comes_back_as_it_was_kept(address: str) -> None:
    run = a_run()
    with open_store(address) as store:
        assert store.keep(run, FIGURES) == run.id
    with open_store(address) as store:
        assert store.get(run.id) == run
        (header,) = store.runs()
    assert header.figures == FIGURES
    assert (header.id, header.label, header.model) == (run.id, "a label", "a/model")
    assert (header.num_requests, header.num_failed) == (20, 2)


def test_an_empty_run_comes_back_too(address: str) -> None:
    run = a_run(num=0, samples=[], versions={})
    with open_store(address) as store:
        store.keep(run, {})
        assert store.get("last") == run


def test_what_a_server_says_cannot_spoil_a_run(address: str) -> None:
    odd = a_run(num=1)
    result = msgspec.structs.replace(
        odd.results[0],
        detail="zero \0, half \ud800, '; DROP TABLE runs; --",
        error="stream",
        num_output_tokens=2**70,
        num_cached_tokens=2**62,
    )
    odd = msgspec.structs.replace(
        odd, label="\udcff?%s", results=[result], samples=[Sample(0.5, "a\0b", math.nan)]
    )
    plan = msgspec.structs.replace(odd.plan, workload="jsonl:\udcff.jsonl", seed=2**80)
    odd = msgspec.structs.replace(odd, plan=plan)
    with open_store(address) as store:
        store.keep(odd, {"nothing": math.nan})
        back = store.get(odd.id)
        assert math.isnan(store.runs()[0].figures["nothing"])
    assert back.results[0].detail == "zero \ufffd, half ?, '; DROP TABLE runs; --"
    assert back.results[0].num_output_tokens is None
    assert back.results[0].num_cached_tokens == 2**62
    assert back.samples[0].name == "a\ufffdb"
    assert math.isnan(back.samples[0].value)
    assert (back.label, back.plan.seed) == ("??%s", 2**80)
    assert back.plan.workload == "jsonl:?.jsonl"


def test_runs_are_listed_by_label_and_model_with_the_newest_first(address: str) -> None:
    with open_store(address) as store:
        for hour in (2, 4, 1, 3):
            label = "odd" if hour % 2 else "even"
            store.keep(a_run(f"20261201-0{hour}4500-aaaa", num=1, label=label), {"hour": hour})
        assert [one.figures["hour"] for one in store.runs()] == [4, 3, 2, 1]
        assert [one.figures["hour"] for one in store.runs(label="odd")] == [3, 1]
        assert [one.figures["hour"] for one in store.runs(model="a/model", limit=1)] == [4]
        assert store.runs(label="odd", model="another") == []
        assert store.get("last").id == "20261201-044500-aaaa"


def test_a_run_is_found_by_the_begin_of_its_id_if_no_other_begins_so(address: str) -> None:
    with open_store(address) as store:
        with pytest.raises(CannotKeep, match="no run is kept yet"):
            store.get("last")
        for run_id in ("20261201-014500-3fa9", "20261201-014500-3fa9b", "20261201-024500-0000"):
            store.keep(a_run(run_id, num=1), {})
        assert store.get("20261201-02").id == "20261201-024500-0000"
        assert store.get("20261201-014500-3fa9").id == "20261201-014500-3fa9"
        with pytest.raises(CannotKeep, match="any of 20261201-014500-3fa9, 20261201-014500-3fa9b;"):
            store.get("20261201-01")
        for none in ("2025", "%", "_", "", "'"):
            with pytest.raises(CannotKeep, match="kvorum bench list"):
                store.get(none)


def test_a_deleted_run_leaves_nothing_behind(address: str) -> None:
    with open_store(address) as store:
        store.keep(a_run("20261201-014500-3fa9"), FIGURES)
        store.keep(a_run("20261201-014500-4fa9", num=2, samples=[]), {})
        assert store.delete("20261201-014500-3") == "20261201-014500-3fa9"
        with pytest.raises(CannotKeep, match="no run"):
            store.get("20261201-014500-3fa9")
        assert len(store.runs()) == 1
    for table, num in [("run_figures", 0), ("samples", 0), ("requests", 2)]:
        assert rows(address, f"SELECT count(*) FROM {table}") == [(num,)]


def test_a_run_is_kept_once_or_not_at_all(address: str) -> None:
    run = a_run()
    broken = a_run("20261201-024500-0000")
    broken.results[-1] = msgspec.structs.replace(broken.results[-1], error=None)
    with open_store(address) as store:
        store.keep(run, {})
        with pytest.raises(CannotKeep, match="kept already"):
            store.keep(run, {})
        with pytest.raises(CannotKeep, match="cannot be used"):
            store.keep(broken, {})
        assert [one.id for one in store.runs()] == [run.id]
        assert store.get("last") == run


def test_sql_can_ask_for_what_people_want_to_know(address: str) -> None:
    run = a_run()
    with open_store(address) as store:
        store.keep(run, FIGURES)
    (head,) = rows(
        address,
        "SELECT server, model, endpoint, protocol, workload, arrival, num_processes, "
        "max_concurrency, begun_s, value FROM runs JOIN run_figures ON run_id = id "
        "WHERE name = 'p99_ttft_ms'",
    )
    assert head == (
        *("http://127.0.0.1:8000", "a/model", "chat", "http/1.1", "random:128,24", "poisson:5"),
        *(1, 16, 1796089507.5, 123.456),
    )
    waited = rows(address, "SELECT first_s - due_s FROM requests WHERE error = '' ORDER BY number")
    good = [one for one in run.results if not one.error]
    assert [row[0] for row in waited] == [one.arrivals_s[0] - one.due_s for one in good]


def test_many_begin_and_write_at_once(address: str) -> None:
    def keep(number: int) -> None:
        with open_store(address) as store:
            store.keep(a_run(f"20261201-014500-{number:04}", num=3, seed=number), {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(keep, range(24)))
    with open_store(address) as store:
        assert len(store.runs()) == 24
        assert store.get("20261201-014500-0007") == a_run("20261201-014500-0007", num=3, seed=7)


TIMES = st.floats(allow_nan=False)
COUNTS = st.none() | st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
RESULTS = st.builds(
    Measured,
    session=st.integers(0, 2**31 - 1),
    turn=st.integers(0, 2**31 - 1),
    due_s=TIMES,
    sent_s=TIMES,
    end_s=TIMES,
    arrivals_s=st.lists(TIMES, max_size=5),
    first_answer_s=st.none() | TIMES,
    num_prompt_tokens=COUNTS,
    num_output_tokens=COUNTS,
    num_cached_tokens=COUNTS,
    num_asked_tokens=st.integers(0, 2**31 - 1),
    finish_reason=TEXTS,
    error=TEXTS,
    detail=TEXTS,
    num_characters=st.integers(0, 2**31 - 1),
)
SAMPLES = st.builds(Sample, TIMES, TEXTS, TIMES)


@given(st.lists(RESULTS, max_size=3), st.lists(SAMPLES, max_size=3), TEXTS)
def test_any_result_comes_back_exactly(
    results: list[Measured], samples: list[Sample], label: str
) -> None:
    run: Run = a_run(num=0, results=results, samples=samples, label=label)
    with open_store("sqlite:///:memory:") as store:
        store.keep(run, {})
        assert store.get(run.id) == run


def test_no_field_of_a_result_is_forgotten() -> None:
    assert set(REQUEST_COLUMNS) == set(Measured.__struct_fields__)


def test_an_address_of_sqlite_may_be_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for where in ("sqlite:///near.sqlite", f"sqlite:///{tmp_path}/far.sqlite", "plain.sqlite"):
        open_store(where).close()
    assert {path.name for path in tmp_path.glob("*.sqlite")} == {
        *("near.sqlite", "far.sqlite", "plain.sqlite")
    }


@pytest.mark.parametrize("where", ["mysql://u:hidden@h/d", "sqlite://hidden", "sqlite:///", ""])
def test_an_address_that_is_none_is_told_without_what_it_may_hide(where: str) -> None:
    with pytest.raises(CannotKeep, match=r"name a file|it looks like") as caught:
        open_store(where)
    assert "hidden" not in str(caught.value)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no database at all, and long enough to be taken for one" * 20)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (a)")
    connection.close()
    for path in (text, other, tmp_path):
        with pytest.raises(CannotKeep, match="name another file"):
            open_store(str(path))
    assert rows(str(other), "SELECT name FROM sqlite_master") == [("things",)]


def test_tables_of_a_newer_version_are_left_alone(address: str) -> None:
    open_store(address).close()
    if "://" in address:
        with psycopg.connect(address) as connection:
            connection.execute("UPDATE bench_schema SET version = 99")
    else:
        with sqlite3.connect(address) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    with pytest.raises(CannotKeep, match=f"version 99, this one knows {VERSION}.*update kvorum"):
        open_store(address)


@pytest.mark.parametrize(
    "change",
    [
        (PASSWORD, f"wrong-{PASSWORD}"),
        ("127.0.0.1:", f"127.0.0.1:1?password={PASSWORD}&x="),
        (f"{PASSWORD}@127.0.0.1:", f"{PASSWORD}#odd@127.0.0.1:"),
        (f"{PASSWORD}@127.0.0.1:", f"{PASSWORD}/odd@127.0.0.1:"),
        (f"{PASSWORD}@127.0.0.1:", f"odd@{PASSWORD}@127.0.0.1:"),
        ("/bench_", "/none_"),
    ],
)
def test_no_error_shows_a_password(postgres_address: str, change: tuple[str, str]) -> None:
    with pytest.raises(CannotKeep) as caught:
        open_store(postgres_address.replace(*change))
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotKeep, match=r"PostgreSQL at .*nosuch.* see that the server runs"):
        open_store(f"postgresql:///results?host={tmp_path}/nosuch&user=a&password=b")


def test_a_connection_that_the_server_has_dropped_is_made_anew(
    postgres: PostgresServer, postgres_address: str
) -> None:
    run = a_run()
    with open_store(postgres_address) as store:
        postgres.restart()
        store.keep(run, {})
        assert store.get("last") == run


def test_a_reader_needs_no_rights_but_to_read(postgres: PostgresServer) -> None:
    address = new_database(postgres)
    with open_store(address) as store:
        store.keep(a_run(), {})
    name = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    with open_store(address.replace("bench:", f"{name}:")) as store:
        assert store.get("last") == a_run()
        with pytest.raises(CannotKeep, match="permission denied"):
            store.delete("last")


def test_without_psycopg_it_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from observability.bench.store.select import open_store\n"
        "from observability.bench.errors import CannotKeep\n"
        "open_store('sqlite:///:memory:').close()\n"
        "try: open_store('postgresql://u:p@h/d')\n"
        "except CannotKeep as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert 'pip install "kvorum[postgres]"' in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@h:1/v1?a=//b@c", "http://h:1/v1?a=//b@c"),
        ("u:p@h:1", "h:1"),
        ("https://h/a@b", "https://h/a@b"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
