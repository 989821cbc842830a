"""Measure an exported model: held-out wordings and words by skill, and prompts of visitors.

    python -m infra.embedded.chat.evaluate --model engine/embedded/kvorum-mini

Held-out answers must be exact; visitor prompts are answered by `generate` and checked for content.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from infra.embedded.chat.check import passes
from infra.embedded.chat.mixture import draw_conversation, long_conversation
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.score import score

VISITORS = Path(__file__).parents[1] / "visitor_prompts.jsonl"
GROUPS = ("small_talk", "persona", "arithmetic", "text", "facts", "style", "tools", "unknown")


def held_out(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, per_group: int, seed: int
) -> dict[str, dict[str, tuple[int, int]]]:
    """Exact answers by group of skills; wordings, words and number pairs were never trained on."""

    def logits(tokens: Tensor) -> Tensor:
        return model(input_ids=tokens, use_cache=False).logits

    results: dict[str, dict[str, tuple[int, int]]] = {}
    for group in tqdm((*GROUPS, "long"), desc="held out"):
        speaker = Speaker(Random(f"{seed}{group}"), test=True)
        if group == "long":
            drawn = [long_conversation(speaker) for _ in range(per_group // 5)]
        else:
            drawn = [draw_conversation(speaker, group) for _ in range(per_group)]
        results[group] = score(logits, tokenizer, drawn)
    return results


class Replier:
    """Greedy replies through plain transformers."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def reply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        inputs = self.tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = self.model.generate(**inputs, do_sample=False, max_new_tokens=256)
        answer = output[0, inputs["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(answer, skip_special_tokens=True))


def visitors(
    replier: Replier, path: Path, show: Callable[[str], None] | None
) -> dict[str, list[bool]]:
    """Pass or fail of every visitor prompt, by its skill."""
    results: dict[str, list[bool]] = defaultdict(list)
    prompts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    for prompt in tqdm(prompts, desc="visitors"):
        reply = replier.reply(prompt["messages"], prompt.get("tools"))
        right = passes(reply, prompt["check"])
        results[prompt["skill"]].append(right)
        if show and not right:
            show(f"{prompt['id']} {prompt['skill']}: {reply}")
    return dict(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--per-group", type=int, default=400, help="held-out conversations a group")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--visitors", type=Path, default=VISITORS, help="file of visitor prompts")
    parser.add_argument("--show", action="store_true", help="print wrong replies to visitors")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    print("| group | right | detail (number) |\n|---|---|---|")
    for group, skills in held_out(model, tokenizer, options.per_group, options.seed).items():
        right, total = (sum(column) for column in zip(*skills.values(), strict=True))
        detail = ", ".join(f"{name} {100 * a / b:.0f} ({b})" for name, (a, b) in skills.items())
        print(f"| {group} | {100 * right / total:.1f} % of {total} | {detail} |", flush=True)
    if options.visitors.exists():
        show = tqdm.write if options.show else None
        results = visitors(Replier(model, tokenizer), options.visitors, show)
        print("\n| visitor prompts | right | of |\n|---|---|---|")
        for skill, hits in sorted(results.items()):
            print(f"| {skill} | {sum(hits)} | {len(hits)} |")
        every = [hit for hits in results.values() for hit in hits]
        print(f"| all | {sum(every)} ({100 * sum(every) / len(every):.0f} %) | {len(every)} |")


if __name__ == "__main__":
    main()
