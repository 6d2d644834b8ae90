"""`posgen bench step` measures what it says: the operations are those that torch counts, the kernels compute products,
and the plain implementation computes what the population does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models import bench_products
from models.bench import plain_batch, plain_training, probe, step_times
from models.bench_products import Reach, candidates, matrix_products
from models.spec import EncodingSpec, ModelSpec, OptimSpec, Precision, Schedule
from posgen.spec import DataSpec
from tests.models.test_population import YARN, member

SPEC = replace(
    member(),
    model=ModelSpec(2, 32, 2, 16, 64, dropout=0.1),
    data=DataSpec(train_length=16, test_length=16, train_size=8, validation_size=1, test_size=1),
    optim=OptimSpec(batch_size=8),
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch's counter of operations sees its own thread alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("changes", [{}, {"bos": False}, {"freeze_ffn": True}, {"precision": Precision.bf16}])
def test_operations_of_a_step(changes: dict) -> None:
    spec = replace(SPEC, model=replace(SPEC.model, **changes))
    population = probe([replace(spec, seed=seed) for seed in range(3)])
    population.step(population.batch(0, 0))  # in the first of a process the kernels are tried out
    with FlopCounterMode(display=False) as counted:
        population.step(population.batch(0, 0))
    assert Reach(population).operations == counted.get_total_flops()


def test_the_paper_s_step() -> None:
    """The first of the two numbers of docs/performance.md, from the sizes: 6 operations a weight and position, and
    attention; the first product takes one-hot rows, whose gradient is never made."""
    spec = replace(SPEC, model=ModelSpec(), data=DataSpec(train_size=128), optim=OptimSpec())
    spec = replace(spec, task=replace(spec.task, modulus=17))
    positions, weights = 128 * 64, 2 * (4 * 512 * 512 + 2 * 512 * 2048) + 2 * 22 * 512
    attention = 2 * 2 * 3 * 2 * 128 * 8 * 64 * 64 * 64
    operations = sum(product.operations for product in matrix_products(spec))
    assert operations == 6 * positions * weights + attention - 2 * positions * 22 * 512
    assert round(operations / 1e9) == 317


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_every_kernel_computes_the_product(precision: Precision) -> None:
    dtype = torch.bfloat16 if precision is Precision.bf16 else torch.float32
    a, b = torch.randn(3, 5, 7).to(dtype), torch.randn(3, 4, 7).to(dtype).transpose(1, 2)
    for a_, b_ in ((a, b), (a.transpose(1, 2).contiguous().transpose(1, 2), b.contiguous())):
        for name, kernel in candidates(CPU, precision).items():
            found = torch.stack(list(kernel(a_, b_, torch.empty(3, 5, 4, dtype=dtype))))
            expected = (a.double() @ b.double()).to(dtype)
            torch.testing.assert_close(
                found, expected, rtol=2e-2, atol=1e-5 if dtype is torch.float32 else 5e-2, msg=name
            )


def test_a_torch_without_onednn_s_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_products, "has_linear", lambda dtype: False)
    assert list(candidates(CPU, Precision.fp32)) == ["torch.bmm", "torch.mm", "the population's own"]


@pytest.mark.parametrize(
    ("bos", "encoding"), [(True, SPEC.train_encoding), (False, replace(YARN, scaling="none", params={}))]
)
def test_the_plain_implementation_does_the_same_step(bos: bool, encoding: EncodingSpec) -> None:
    """Its first loss is that of each member, and its second, after AdamW, too."""
    model = replace(SPEC.model, dropout=0.0, bos=bos)
    optim = replace(SPEC.optim, lr=1e-3, schedule=Schedule.constant)
    spec = replace(SPEC, model=model, optim=optim, train_encoding=encoding, test_encodings=(encoding,))
    population = probe([replace(spec, seed=seed) for seed in range(3)])
    tokens = population.batch(0, 0)
    plain = [plain_training(population, member) for member in range(3)]
    for _ in range(2):
        losses = [training.step(*plain_batch(population, own)) for training, own in zip(plain, tokens, strict=True)]
        assert losses == pytest.approx(population.step(tokens).loss.tolist(), rel=1e-5)


def test_what_is_frozen_stays_so_in_the_plain_implementation() -> None:
    population = probe([replace(SPEC, model=replace(SPEC.model, freeze_ffn=True))])
    training = plain_training(population, 0)
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training.step(*plain_batch(population, population.batch(0, 0)[0]))
    moved = {name for name, weight in training.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.split(".")[-2] not in ("norm2", "wi", "wo")}


@pytest.mark.slow
def test_every_round_is_counted_but_the_first() -> None:
    ticks = []
    times = step_times([replace(SPEC, seed=seed) for seed in range(2)], 2, "cpu", False, lambda: ticks.append(1))
    assert len(ticks) == 3
    assert times.tokens == 2 * 8 * 16
    assert min(times.together, times.plain, times.products, times.one_by_one or 0.0) > 0
    assert step_times([SPEC], 1, "cpu", False, lambda: None).one_by_one is None
