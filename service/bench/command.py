"""`kvorum bench`: finds the command, prints what it yields, turns errors into exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.errors import WrongOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Command = Callable[[Sequence[str], Mapping[str, str]], Iterator[str]]

HELP = """\
usage: kvorum bench COMMAND [flags]

Measures any server with an OpenAI-compatible API from outside, says how sure it is, keeps results.

commands:
  serve            one server under a load: latencies, throughput, goodput
  compare          two servers side by side, in turns; or runs that were kept
  latency [MODEL]  the engine alone, as a share of what this machine can do
  startup          time, CPU and memory from the command to the first token
  list             the runs that were kept
  show ID          one of them; --report FILE writes its page
  delete ID        one of them
  model SHAPE DIR  make a model of a known shape with random weights

`kvorum bench serve --help` explains each of its flags; docs/bench.md explains the figures.
"""


def lines_of(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """What a command says, as it says it.

    Raises:
        BenchError: with a text for the user; a `WrongOption` for wrong usage.
        SystemExit: with 1 if a limit is crossed, with 0 after `--help`.
    """
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("help", "--help", "-h"):
        yield HELP.rstrip()
        return
    yield from _command(name)(rest, environ)


def _command(name: str) -> Command:
    # Imported when asked for: some bring numpy, some torch.
    match name:
        case "serve":
            from service.bench.serve import serve

            return serve
        case "compare":
            from service.bench.compare import compare

            return compare
        case "latency":
            from service.bench.latency import latency

            return latency
        case "startup":
            from service.bench.startup import startup

            return startup
        case "list":
            from service.bench.kept import list_runs

            return list_runs
        case "show":
            from service.bench.kept import show

            return show
        case "delete":
            from service.bench.kept import delete

            return delete
        case "model":
            from service.bench.make_model import make_model_folder

            return make_model_folder
        case _:
            raise WrongOption(f"there is no command {name}; see `kvorum bench --help`")
