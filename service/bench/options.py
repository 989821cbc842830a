"""The options of `kvorum bench`: what may be said, and the Structs that it becomes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from observability.bench.errors import WrongOption
from observability.bench.load_options import LoadOptions
from service.knobs import BENCH_DATABASE_ENV

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_ENVS = ("KVORUM_API_KEY", "OPENAI_API_KEY")


class BenchParser(argparse.ArgumentParser):
    """argparse that raises `WrongOption` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise WrongOption(f"{message} (see `{self.prog} --help`)")


def parser_of(command: str, description: str, epilog: str = "") -> BenchParser:
    """A parser of `kvorum bench COMMAND`."""
    return BenchParser(
        prog=f"kvorum bench {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_load(parser: argparse.ArgumentParser) -> None:
    """What load is made, and how it is spoken."""
    load = parser.add_argument_group("the load")
    load.add_argument(
        "--workload",
        metavar="WORDS",
        default="random:512,128",
        help="W1..W4, random:IN,OUT, shared:PREFIX+IN,OUT, turns:NxIN,OUT, jsonl:FILE, "
        "trace:FILE; see docs/bench.md (default: random:512,128)",
    )
    load.add_argument(
        "--arrival",
        metavar="WORDS",
        help="closed, burst, constant:RATE, poisson:RATE, gamma:RATE,BURSTINESS, "
        "ramp:FROM-TO,SECONDS, trace[:SPEEDUP] (default: closed)",
    )
    load.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="requests at once: all of them in a closed loop (default: 1), a bound at a rate",
    )
    load.add_argument(
        "--requests", type=int, metavar="N", help="sessions to run (default: the workload's, 100)"
    )
    load.add_argument(
        "--warmup", type=int, metavar="N", help="sessions before, not counted (default: 1)"
    )
    load.add_argument("--seed", type=int, default=0, metavar="N")
    load.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="client processes; more if the client is told to be too slow (default: 1)",
    )
    load.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        help="tokenizer.json or its folder, to make prompts of exact length (default: the "
        "server's /tokenize)",
    )
    load.add_argument(
        "--objective",
        metavar="WORDS",
        default="",
        help="limits in ms for goodput: ttft:300,itl:50,e2e:5000",
    )
    _add_target(parser)


def _add_target(parser: argparse.ArgumentParser) -> None:
    target = parser.add_argument_group("how the server is spoken to")
    target.add_argument("--endpoint", choices=("chat", "completions"), default="chat")
    target.add_argument(
        "--protocol", choices=("http/1.1", "h2"), default="http/1.1", help="h2 is HTTP/2"
    )
    target.add_argument("--insecure", action="store_true", help="take any certificate")
    target.add_argument("--timeout", type=float, default=600.0, metavar="S", help="of a request")
    target.add_argument(
        "--body",
        metavar="JSON",
        default='{"temperature": 0}',
        help='fields laid over each request (default: {"temperature": 0})',
    )
    target.add_argument(
        "--may-end-early",
        action="store_true",
        help="let answers end where the model ends them; else `ignore_eos` is sent",
    )
    target.add_argument("--api-key", metavar="KEY", help=f"also {', '.join(KEY_ENVS)}")


def add_store(parser: argparse._ActionsContainer) -> None:
    """Where results are kept."""
    parser.add_argument(
        "--db",
        metavar="URL",
        help=f"a file for SQLite or postgresql://...; also {BENCH_DATABASE_ENV} (default: "
        "kvorum/bench.sqlite in the user's data folder)",
    )


def add_result(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """What becomes of the result."""
    result = parser.add_argument_group("the result")
    add_store(result)
    result.add_argument("--no-db", action="store_true", help="do not keep it")
    result.add_argument("--report", metavar="FILE", help="write a page of HTML with plots")
    result.add_argument("--json", action="store_true", help="print JSON, for programs")
    return result


def database_of(given: str | None, environ: Mapping[str, str]) -> str:
    """Where results are kept: as said, by variable, or in the user's data folder (XDG)."""
    if given or environ.get(BENCH_DATABASE_ENV):
        return given or environ[BENCH_DATABASE_ENV]
    base = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", ".")) / ".local" / "share"
    return str(Path(base) / "kvorum" / "bench.sqlite")


def key_of(given: str | None, environ: Mapping[str, str]) -> str | None:
    """The API key: as said, or by variable."""
    return given or next((environ[name] for name in KEY_ENVS if environ.get(name)), None)


def load_options(given: argparse.Namespace, environ: Mapping[str, str]) -> LoadOptions:
    """Raises `WrongOption`."""
    return LoadOptions(
        endpoint=given.endpoint,
        protocol=given.protocol,
        is_insecure=given.insecure,
        timeout_s=_positive("--timeout", given.timeout),
        body=body_of(given.body),
        may_end_early=given.may_end_early,
        api_key=key_of(given.api_key, environ),
        workload=given.workload,
        arrival=given.arrival,
        concurrency=_positive("--concurrency", given.concurrency),
        num_requests=_positive("--requests", given.requests),
        num_warmup=given.warmup,
        num_processes=_positive("--processes", given.processes),
        seed=given.seed,
        tokenizer=given.tokenizer,
        objective=given.objective,
    )


def body_of(text: str) -> dict[str, object]:
    """Raises `WrongOption` if it is no JSON object."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WrongOption(f"--body takes a JSON object: {error}") from None


def _positive(option: str, value: Any) -> Any:
    if value is not None and value <= 0:
        raise WrongOption(f"{option} must be above 0")
    return value
