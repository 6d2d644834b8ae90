"""The operations that `posgen bench step` divides by are those that torch counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.bench import matrix_products, probe
from models.spec import ModelSpec, OptimSpec
from posgen.spec import DataSpec
from tests.models.test_population import member

SPEC = replace(
    member(),
    model=ModelSpec(2, 32, 2, 16, 64, dropout=0.1),
    data=DataSpec(train_length=16, test_length=16, train_size=8, validation_size=1, test_size=1),
    optim=OptimSpec(batch_size=8),
)


@pytest.mark.parametrize("members", [1, 3])
def test_operations_of_a_step(members: int) -> None:
    """The first product takes one-hot rows, whose gradient nobody asks for: one of its three products is never made."""
    population = probe([replace(SPEC, seed=seed) for seed in range(members)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees its own thread
    try:
        with FlopCounterMode(display=False) as counted:
            population.step(population.batch(0, 0))
        products, operations = matrix_products(population)
        with FlopCounterMode(display=False) as alone:
            products()
    finally:
        torch.set_num_threads(threads)
    rows, vocabulary = 8 * 16, SPEC.task.vocabulary
    unused = members * 2 * rows * vocabulary * SPEC.model.d_model
    assert alone.get_total_flops() == operations
    assert counted.get_total_flops() == operations - unused


def test_the_paper_s_step() -> None:
    """The two numbers of docs/performance.md, from the sizes: 6 operations a weight and position, and attention."""
    spec = replace(SPEC, model=ModelSpec(), data=DataSpec(), optim=OptimSpec())
    spec = replace(spec, task=replace(spec.task, modulus=17))
    positions, weights = 128 * 64, 2 * (4 * 512 * 512 + 2 * 512 * 2048) + 2 * 22 * 512
    attention = 2 * 2 * 3 * 2 * 128 * 8 * 64 * 64 * 64
    expected = 6 * positions * weights + attention
    _, operations = matrix_products(probe([replace(spec, data=replace(DataSpec(), train_size=128))]))
    assert operations == pytest.approx(expected, rel=1e-6)
    assert round(operations / 1e9) == 317
