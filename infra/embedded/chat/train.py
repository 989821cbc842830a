"""Train `kvorum-mini` from nothing, on as many processes as there are cores.

    python -m infra.embedded.chat.train --run /tmp/kvorum-mini --minutes 70

Run it again with the same folder to go on after a break, or with more minutes to train longer: the
learning rate follows the share of the minutes that is used up.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from infra.embedded.chat import checkpoint
from infra.embedded.chat.batch import Stream, padded
from infra.embedded.chat.checkpoint import Clock
from infra.embedded.chat.export import TEMPLATE
from infra.embedded.chat.mixture import draw_conversation
from infra.embedded.chat.model import ChatModel, Shape
from infra.embedded.chat.muon import Muon
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.score import score
from infra.embedded.chat.tokenizer import build_tokenizer, save_tokenizer
from infra.embedded.chat.vocabulary import choose_words

MATRIX_RATE, VECTOR_RATE = 0.014, 3e-3
WARM_UP_STEPS = 30
DECAY_FROM = 0.45
SHORT_UNTIL, SHORT = 0.12, 176
PROMPT_UNTIL, PROMPT_WEIGHT = 0.3, 0.1
LONG_FROM, LONG_SHARE, LONGEST = 0.5, 0.015, 1600
TOKENS_PER_PROCESS = 1700
SAVE_EVERY_S, SCORE_EVERY_S = 60, 240

# One thread per process, and freed memory is kept: giving it back costs page faults in every step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}


@dataclass(slots=True)
class Options:
    run: Path
    minutes: float
    processes: int
    port: int


class Trainer:
    """One of the processes; all hold the same weights after every step.

    Each process updates its own share of the matrices (Muon is a fifth of a step). Muon's momentum is
    not in the checkpoint: it is rebuilt within twenty steps.
    """

    def __init__(self, options: Options, rank: int) -> None:
        self.options, self.rank = options, rank
        self.tokenizer = AutoTokenizer.from_pretrained(options.run / "tokenizer")
        torch.manual_seed(0)
        self.model = ChatModel(Shape(len(self.tokenizer), mlp_size=512))
        self.parameters = list(self.model.parameters())
        matrices = [p for p in self.model.layers.parameters() if p.ndim == 2]
        own = set(map(id, matrices[rank :: options.processes]))
        self.foreign = [p for p in matrices if id(p) not in own]
        self.matrices = matrices
        self.muon = Muon((p for p in matrices if id(p) in own), MATRIX_RATE)
        ids = set(map(id, matrices))
        self.vectors = [p for p in self.parameters if id(p) not in ids]
        self.adam = torch.optim.AdamW(self.vectors, VECTOR_RATE, (0.9, 0.98), weight_decay=0.0)
        self.clock = Clock()
        self._load()
        self.stream = Stream(self.tokenizer, seed=1 + rank + 1000 * self.clock.step)

    @property
    def progress(self) -> float:
        return min(1.0, self.clock.seconds / (60 * self.options.minutes))

    def _load(self) -> None:
        try:
            model, adam, self.clock = checkpoint.load(self.options.run)
        except FileNotFoundError:
            return
        self.model.load_state_dict(model.state_dict())
        self.adam.load_state_dict(self.adam.state_dict() | {"state": adam})

    def save(self) -> None:
        checkpoint.save(self.options.run, self.model, self.adam, self.clock)

    def train_step(self) -> float:
        """One update of all processes; returns the mean loss."""
        started = time.monotonic()
        short = self.progress < SHORT_UNTIL
        long_share = LONG_SHARE if self.progress > LONG_FROM else 0.0
        batches = self.stream.draw(TOKENS_PER_PROCESS, SHORT if short else LONGEST, long_share)
        prompt_weight = PROMPT_WEIGHT if self.progress < PROMPT_UNTIL else 0.0
        loss, weight = 0.0, 0.0
        for batch in batches:
            tokens, weights = padded(batch, prompt_weight)
            part = self.model.loss(tokens, weights)
            part.backward()
            loss, weight = loss + float(part.detach()), weight + float(weights[:, 1:].sum())
        loss = self._reduce(loss, weight)
        self._update()
        self.clock.step += 1
        self.clock.num_tokens += self.options.processes * sum(
            len(row.ids) for b in batches for row in b
        )
        self.clock.seconds += time.monotonic() - started
        return loss

    def _reduce(self, loss: float, weight: float) -> float:
        """Sum gradients over all processes and divide by the weight of all tokens."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([loss, weight])])
        dist.all_reduce(flat)
        flat = flat[:-1].div_(flat[-1]) if weight else flat[:-1]
        for grad, part in zip(grads, flat[:-1].split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))
        return float(flat[-1])

    def _update(self) -> None:
        rate = min(1.0, (self.clock.step + 1) / WARM_UP_STEPS)
        rate *= min(1.0, (1.0 - self.progress) / (1.0 - DECAY_FROM))
        for optimizer, base in ((self.muon, MATRIX_RATE), (self.adam, VECTOR_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = base * rate
        torch.nn.utils.clip_grad_norm_(self.vectors, 1.0)
        self.adam.step()
        self.muon.step()
        self._share_matrices()
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _share_matrices(self) -> None:
        for matrix in self.foreign:
            matrix.zero_()
        flat = torch.cat([matrix.flatten() for matrix in self.matrices])
        dist.all_reduce(flat)
        parts: tuple[Tensor, ...] = flat.split([matrix.numel() for matrix in self.matrices])
        for matrix, part in zip(self.matrices, parts, strict=True):
            matrix.copy_(part.view_as(matrix))

    def report(self, conversations: int = 500) -> str:
        """Exact answers on held-out wordings and words, by skill."""
        speaker = Speaker(Random(77), test=True)
        held_out = (draw_conversation(speaker) for _ in range(conversations))
        result = score(self.model.logits, self.tokenizer, held_out)
        right, total = (sum(column) for column in zip(*result.values(), strict=True))
        parts = [f"{skill} {100 * a // b} ({b})" for skill, (a, b) in result.items()]
        return f"step {self.clock.step}, held out {100 * right / total:.1f} %: " + ", ".join(parts)


def prepare(run: Path) -> PreTrainedTokenizerBase:
    """The run's tokenizer, made on the first call."""
    folder = run / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(build_tokenizer(choose_words(), TEMPLATE.read_text()), folder)
    return AutoTokenizer.from_pretrained(folder)


def work(rank: int, options: Options) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{options.port}"
    dist.init_process_group("gloo", address, rank=rank, world_size=options.processes)
    trainer = Trainer(options, rank)
    saved = scored = trainer.clock.seconds
    mean = 0.0
    bar = tqdm(total=60 * options.minutes, initial=trainer.clock.seconds, unit="s", disable=rank > 0,
               bar_format="{percentage:5.1f}% {elapsed}<{remaining} {postfix}", mininterval=5)  # fmt: skip
    while not _finished(trainer):
        before = trainer.clock.seconds
        loss = trainer.train_step()
        mean = loss if not mean else 0.98 * mean + 0.02 * loss
        bar.set_postfix_str(
            f"step {trainer.clock.step} loss {mean:.3f} {trainer.clock.num_tokens / 1e6:.2f} M tokens",
            refresh=False,
        )
        bar.update(trainer.clock.seconds - before)
        if rank == 0 and trainer.clock.seconds - saved > SAVE_EVERY_S:
            trainer.save()
            saved = trainer.clock.seconds
        if rank == 0 and trainer.clock.seconds - scored > SCORE_EVERY_S:
            bar.write(trainer.report())
            scored = trainer.clock.seconds
    if rank == 0:
        trainer.save()
        bar.write(trainer.report(2000))
    dist.destroy_process_group()


def _finished(trainer: Trainer) -> bool:
    """All processes follow the clock of the first, so that none waits for a stopped one."""
    clock = torch.tensor([trainer.clock.seconds], dtype=torch.float64)
    dist.broadcast(clock, 0)
    trainer.clock.seconds = float(clock)
    return trainer.progress >= 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, required=True, help="folder for checkpoint and tokenizer"
    )
    parser.add_argument("--minutes", type=float, default=70, help="training time in all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--port", type=int, default=29511, help="free local port")
    options = Options(**vars(parser.parse_args()))
    os.environ |= WORKER_ENVIRONMENT
    tokenizer = prepare(options.run)
    print(f"{len(tokenizer)} tokens, {options.processes} processes")
    mp.spawn(work, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
