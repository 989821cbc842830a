"""`kvorum bench model`: a model of a known shape with random weights, for measuring without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.bench.random_model import DTYPES, SHAPES, make_model
from service.bench.options import parser_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DESCRIPTION = """\
Make a folder with a model of Hugging Face's format: the shape of a known model, random weights and
a tokenizer of 32 768 tokens. Its answers mean nothing; what it costs is what the real one costs.

shapes:
""" + "\n".join(f"  {name:<14} {shape.about}" for name, shape in SHAPES.items())


def make_model_folder(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yields what is to be printed. Raises `BenchError`."""
    parser = parser_of("model", DESCRIPTION)
    parser.add_argument("shape", choices=SHAPES, metavar="SHAPE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args(list(argv))
    yield f"making {given.shape} in {given.folder}; this takes up to a minute"
    make_model(given.shape, given.folder, given.dtype, given.seed)
    yield f"serve it with: kvorum serve {given.folder}"
