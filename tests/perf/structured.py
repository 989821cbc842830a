"""What answers of a form cost beside free ones: tokens per second, and other streams' gaps.

    python -m tests.perf.structured [--shape 0.5b] [--batch 32] [--rounds 5] [--dtype float32]

The engine runs in this process. In each round so many requests run at once, free and then of a JSON
schema, or the other way round; both have `--max-tokens` tokens, for free ones do not end and the
schemas' arrays are long. Then 8 free streams run alone, and again while the first request for a
schema of 50 KB, another in each round, comes beside them: of both the widest gap between two events
of a stream. A step is the median of the gaps.

`--shape mini` is the embedded model. `0.5b` has the shape of Qwen2.5-0.5B and random weights, which
weigh as much: 24 layers, hidden 896, 14 heads, 2 of keys, 151 936 tokens. Its tokenizer is BPE, trained on the sources
of this repository, of Python and of installed packages. It is made once in `--folder` (a minute).
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from engine.bench.random_model import SHAPES, save_weights
from engine.bench.word_tokenizer import SPECIAL, train_tokenizer
from engine.config import EngineConfig
from engine.inline import open_inline
from engine.models.card import read_card
from engine.models.registry import resolve
from engine.protocol import Finished, SamplingParams, Submit, Tokens, pack_token_ids
from engine.structured import grammar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.client import EngineClient
    from engine.models.card import ModelCard

NUM_STREAMS = 8
NUM_FORMS = 4
CONTEXT = 1024
PROMPT = 16
CORPUS_CHARACTERS = 40_000_000
VOCAB_SIZE = 151_936
NUM_OWN_TOKENS = 151_643
"""As Qwen has, before the special ones."""


class Run(msgspec.Struct, frozen=True):
    """When the events of some requests came, and how many tokens they brought."""

    num_tokens: int
    seconds: float
    arrivals_s: list[list[float]]

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.seconds

    def gaps_ms(self) -> list[float]:
        """Between two events of a stream, of all streams."""
        return [(b - a) * 1000 for times in self.arrivals_s for a, b in pairwise(times)]


def main() -> None:
    """Print a line for each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("0.5b", "mini"), default="0.5b")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "kvorum-structured"
    )
    options = parser.parse_args()
    card = resolve() if options.shape == "mini" else card_of_random_model(options.folder)
    config = EngineConfig(
        card=card,
        device=options.device,
        dtype=options.dtype,
        max_model_len=CONTEXT,
        num_threads=options.threads,
    )
    print(f"{options.shape}, {card.vocab_size} tokens, {options.dtype}, batch {options.batch}")
    anyio.run(measure, config, options)


async def measure(config: EngineConfig, options: argparse.Namespace) -> None:
    """All rounds on one engine, after one that is not counted."""
    forms = [grammar.of_schema(endless_schema(number)) for number in range(NUM_FORMS)]
    rates: dict[str, list[float]] = {"free": [], "structured": []}
    steps: dict[str, list[float]] = {"free": [], "structured": []}
    widest: dict[str, list[float]] = {"alone": [], "beside": []}
    async with open_inline(config) as client:
        await client.wait_ready()
        for round_index in range(options.rounds + 1):
            order = list(rates) if round_index % 2 else list(reversed(rates))
            runs = {}
            for kind in order:
                grammars = forms if kind == "structured" else [""]
                runs[kind] = await run(client, options.batch, grammars, options.max_tokens)
            alone, beside = await gaps_beside_a_new_schema(client, round_index, options.max_tokens)
            if round_index == 0:
                continue
            for kind, done in runs.items():
                rates[kind].append(done.tokens_per_s)
                steps[kind].append(statistics.median(done.gaps_ms()))
            widest["alone"].append(max(alone))
            widest["beside"].append(max(beside))
            print(
                f"tokens/s: free {rates['free'][-1]:.0f}, structured {rates['structured'][-1]:.0f}, "
                f"ratio {rates['structured'][-1] / rates['free'][-1]:.3f}; step, ms: "
                f"{steps['free'][-1]:.1f}, {steps['structured'][-1]:.1f}; gaps of {NUM_STREAMS}, "
                f"ms: median {statistics.median(alone):.1f}, widest {max(alone):.1f} alone, "
                f"{max(beside):.1f} beside a new schema",
                flush=True,
            )
    report(rates, steps, widest)


def report(
    rates: dict[str, list[float]], steps: dict[str, list[float]], widest: dict[str, list[float]]
) -> None:
    """The medians of all rounds."""
    ratios = [b / a for a, b in zip(rates["free"], rates["structured"], strict=True)]
    rate, step, gap = (
        {kind: statistics.median(values) for kind, values in each.items()}
        for each in (rates, steps, widest)
    )
    print(
        f"median of {len(ratios)}: free {rate['free']:.0f} tokens/s, structured "
        f"{rate['structured']:.0f}, ratio {statistics.median(ratios):.3f}; step {step['free']:.1f} "
        f"and {step['structured']:.1f} ms; widest gap {gap['alone']:.1f} ms alone, "
        f"{gap['beside']:.1f} beside a new schema"
    )


async def run(client: EngineClient, num: int, grammars: list[str], max_tokens: int) -> Run:
    """So many requests at once, which share the grammars out; "" for a free one."""
    started_s = time.monotonic()
    arrivals: list[list[float]] = [[] for _ in range(num)]
    counts: list[int] = []

    async def read(index: int) -> None:
        submit = submit_of(index, grammars[index % len(grammars)], max_tokens)
        counts.append(await read_events(client, submit, arrivals[index]))

    async with anyio.create_task_group() as tasks:
        for index in range(num):
            tasks.start_soon(read, index)
    assert counts == [max_tokens] * num  # an early end would make the two unlike
    return Run(sum(counts), time.monotonic() - started_s, arrivals)


async def gaps_beside_a_new_schema(
    client: EngineClient, round_index: int, max_tokens: int
) -> tuple[list[float], list[float]]:
    """The gaps of free streams in ms: alone, and while a new schema is first used."""
    alone = await run(client, NUM_STREAMS, [""], max_tokens)
    form = grammar.of_schema(large_schema(round_index))
    arrivals: list[list[float]] = [[] for _ in range(NUM_STREAMS)]
    async with anyio.create_task_group() as tasks:
        for index in range(NUM_STREAMS):
            submit = submit_of(index, "", max_tokens)
            tasks.start_soon(read_events, client, submit, arrivals[index])
        while min(map(len, arrivals)) < max_tokens // 4:
            await anyio.sleep(0.001)
        began_s = time.monotonic()
        await read_events(client, submit_of(NUM_STREAMS, form, max_tokens // 4), [])
    late = [[moment for moment in times if moment >= began_s] for times in arrivals]
    return alone.gaps_ms(), Run(0, 1.0, late).gaps_ms()


async def read_events(client: EngineClient, submit: Submit, arrivals_s: list[float]) -> int:
    """Read a request to its end: the number of its tokens."""
    with client.generate(submit) as conversation:
        while True:
            for event in await conversation.receive():
                if isinstance(event, Tokens):
                    arrivals_s.append(time.monotonic())
                elif isinstance(event, Finished):
                    return event.num_output_tokens


def submit_of(index: int, form: str, max_tokens: int) -> Submit:
    """Prompts begin differently, so that none is cached."""
    params = SamplingParams(max_tokens, 1.0, 1.0, 0, seed=index, grammar=form)
    now_ns = time.monotonic_ns()
    first = now_ns // 1000 % 1000 + index
    return Submit(str(index), pack_token_ids([first, *range(9, 8 + PROMPT)]), params, now_ns)


def endless_schema(number: int) -> dict[str, object]:
    """Its answers are longer than anybody waits for."""
    text = {"type": "string", "minLength": 30}
    names = [f"title_{number}", "description", "kind"]
    item = {
        "type": "object",
        "properties": dict(zip(names, (text, text, {"enum": ["small", "large"]}), strict=True)),
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "array", "items": item, "minItems": 100}


def large_schema(number: int) -> dict[str, object]:
    """50 KB, alike in form and in no name."""
    kinds = [f"kind_{number}_{index}_of_many" for index in range(4)]
    properties = {
        f"property_{number}_{index}": {
            "type": "object",
            "properties": {"text": {"type": "string", "maxLength": 99}, "kind": {"enum": kinds}},
            "required": ["text"],
            "additionalProperties": False,
        }
        for index in range(186)
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def card_of_random_model(folder: Path) -> ModelCard:
    """The model in `folder`, which is made if it is not there."""
    if not (folder / "tokenizer_config.json").exists():  # the last that is written
        folder.mkdir(parents=True, exist_ok=True)
        print(f"making a model in {folder}", flush=True)
        end = NUM_OWN_TOKENS + SPECIAL.index("<|im_end|>")
        shape = SHAPES["qwen2.5-0.5b"]
        save_weights(shape, folder, "bfloat16", 0, vocab_size=VOCAB_SIZE, end_id=end)
        template = Path(resolve().path) / "chat_template.jinja"
        (folder / "chat_template.jinja").write_text(template.read_text())
        tokenizer = train_tokenizer(corpus(), NUM_OWN_TOKENS)
        (folder / "tokenizer.json").write_text(tokenizer.to_str())
        (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    return read_card(folder, "random-0.5b")


def corpus() -> Iterator[str]:
    """Sources and documents, up to so many characters."""
    repository = Path(__file__).parents[2]
    roots = [repository / name for name in ("docs", "engine", "service", "tests")]
    roots += [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    left = CORPUS_CHARACTERS
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".md", ".txt", ".json") and path.stat().st_size < 1 << 20:
                text = path.read_text(errors="replace")
                yield text
                left -= len(text)
                if left < 0:
                    return


if __name__ == "__main__":
    main()
