"""lm-evaluation-harness against a live server: what it reads is what plain transformers gives.

The harness is not among our packages: give it an environment of its own, with torch for a CPU::

    python3 -m venv /tmp/harness
    /tmp/harness/bin/pip install "lm-eval[api]" torch transformers
    .venv/bin/python -m tests.perf.harness /tmp/harness/bin/python

Three made-up tasks (tests/data/harness) run with prompts as ids and as texts, one by one and in
batches. It prints a row for each, and fails if a log-likelihood or a text differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from engine.models.registry import resolve
from tests.contract.conftest import ROOT, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "kvorum-mini"
TASKS = ("kvorum_questions", "kvorum_rolling", "kvorum_continuations")
MAX_ERROR = 1e-4
"""Of the sum over a text, for each of its tokens."""
MAX_NEW_TOKENS = 48


class Reference:
    """The same model in plain transformers, in float32."""

    def __init__(self, folder: str) -> None:
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        ).eval()

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def log_likelihood(self, ids: list[int], first: int) -> float:
        """Of the tokens from `first` on, given those before."""
        with torch.no_grad():
            scores_TV = torch.log_softmax(self._model(torch.tensor([ids])).logits[0], dim=-1)
        return sum(float(scores_TV[at - 1, ids[at]]) for at in range(first, len(ids)))

    def continuation(self, prompt: str) -> str:
        """What greedy `generate` says, up to the end or a blank line."""
        ids = torch.tensor([self.ids(prompt)])
        with torch.no_grad():
            said = self._model.generate(ids, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        text: str = self.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
        return text.split("\n\n")[0]


def samples(python: str, url: str, *, tokenized: bool, batch_size: int) -> dict[str, list[Any]]:
    """What the harness has logged of each task."""
    arguments = (
        f"model={MODEL},base_url={url}/v1/completions,tokenizer_backend=huggingface,"
        f"tokenizer={resolve().path},tokenized_requests={tokenized},max_length=2048"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "lm_eval", "run", "--model", "local-completions"]
        command += ["--batch_size", str(batch_size), "--model_args", arguments]
        command += ["--tasks", ",".join(TASKS), "--include_path", "tests/data/harness"]
        command += ["--log_samples", "--output_path", folder]
        environment = {**os.environ, "HF_HOME": folder, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return {
            task: [
                json.loads(line)
                for path in Path(folder).rglob(f"samples_{task}_*.jsonl")
                for line in path.read_text().splitlines()
            ]
            for task in TASKS
        }


def errors_of(reference: Reference, found: dict[str, list[Any]]) -> Iterator[tuple[str, float]]:
    """For each text what it is, and how far its log-likelihood is off for each token; a
    continuation is off by infinity or not at all."""
    for sample in found["kvorum_questions"]:
        for arguments, ((told, _),) in zip(
            sample["arguments"].values(), sample["resps"], strict=True
        ):
            ids = reference.ids(arguments["arg_0"] + arguments["arg_1"])
            # The harness counts blanks at the end of a question as part of the answer.
            first = len(reference.ids(arguments["arg_0"].rstrip()))
            expected = reference.log_likelihood(ids, first)
            yield arguments["arg_1"], abs(float(told) - expected) / (len(ids) - first)
    start = reference.tokenizer.bos_token_id or reference.tokenizer.eos_token_id
    for sample in found["kvorum_rolling"]:
        (arguments,) = sample["arguments"].values()
        ids = [start, *reference.ids(arguments["arg_0"])]
        expected = reference.log_likelihood(ids, 1)
        yield arguments["arg_0"], abs(float(sample["resps"][0][0]) - expected) / (len(ids) - 1)
    for sample in found["kvorum_continuations"]:
        (arguments,) = sample["arguments"].values()
        expected_text = reference.continuation(arguments["arg_0"])
        yield expected_text, 0.0 if sample["resps"][0][0] == expected_text else float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="the Python that has lm-eval")
    python = parser.parse_args().python
    reference = Reference(resolve().path)
    worst = 0.0
    with running_server("--log-level", "error") as url:
        for tokenized in (True, False):
            for batch_size in (1, 4):
                found = samples(python, url, tokenized=tokenized, batch_size=batch_size)
                errors = list(errors_of(reference, found))
                right = [sample["acc"] for sample in found["kvorum_questions"]]
                print(
                    f"prompts as {'ids  ' if tokenized else 'texts'}, {batch_size} at a time: "
                    f"{len(errors)} texts, accuracy {sum(right) / len(right):.2f}, largest error "
                    f"{max(error for _, error in errors):.1e} a token"
                )
                for text, error in errors:
                    if error > MAX_ERROR:
                        print(f"  off by {error}: {text!r}")
                worst = max(worst, *(error for _, error in errors))
    return int(worst > MAX_ERROR)


if __name__ == "__main__":
    sys.exit(main())
