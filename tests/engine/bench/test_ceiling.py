"""What the machine can do, measured."""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn.functional import linear

from engine.bench.ceiling import Ceiling, measure_ceiling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ceiling() -> Ceiling:
    return measure_ceiling(CPU, torch.bfloat16)


def test_a_machine_reads_and_computes(ceiling: Ceiling) -> None:
    assert 1e8 < ceiling.bytes_per_s < 1e13
    assert 1e8 < ceiling.operations_per_s < 1e15


def test_it_says_by_what_the_most_was_reached(ceiling: Ceiling) -> None:
    assert ceiling.bytes_by.startswith(("the sum of", "a matrix by a vector"))
    assert ceiling.operations_by.endswith("bfloat16")


def test_a_layer_of_a_model_is_not_far_above_it(ceiling: Ceiling) -> None:
    inputs = torch.ones(256, 1024, dtype=torch.bfloat16)
    weights = torch.ones(1024, 1024, dtype=torch.bfloat16)
    times_s = []
    with torch.inference_mode():
        for _ in range(5):
            began_s = time.perf_counter()
            linear(inputs, weights)
            times_s.append(time.perf_counter() - began_s)
    rate = 2 * 256 * 1024 * 1024 / min(times_s)
    # Twice: the machine may have had other things to do. With the wrong layout it is 30 times.
    assert rate < 2 * ceiling.operations_per_s
