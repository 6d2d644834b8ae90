"""What lets a population grow: precision, division by memory, recovery, compiled steps, masks from a counter."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import dropout, memory, population
from models.dropout import Counted
from models.population import Population
from models.precision import product, round_tf32
from models.spec import MemberSpec, ModelSpec, OptimSpec, Precision
from posgen.spec import DataSpec
from tests.models.test_population import DATA, MODEL, OTHERS, data, member, trained

COMPANY = (member(), *OTHERS)
CPU = torch.device("cpu")


def made(*specs: MemberSpec, compiled: bool = False) -> Population:
    return Population(specs, [data(s) for s in specs], compiled=compiled)


def counted(seeds: Sequence[int], step: int) -> Counted:
    return Counted(0.1, dropout.keys(tuple(seeds), CPU), step)


def curve(one: Population, steps: int = 6) -> torch.Tensor:
    return torch.stack([one.step(one.batch(*divmod(i, 3))).loss for i in range(steps)])


def test_tf32_is_the_nearest_number_of_ten_bits() -> None:
    """IEEE 754's round half to even, computed in double precision."""
    generator = np.random.default_rng(0)
    values = (generator.standard_normal(20_000) * 2.0 ** generator.integers(-40, 40, 20_000)).astype(np.float32)
    halfway = np.array([1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, 2 - 2**-11, 0.0, -0.0, 3.0], dtype=np.float32)
    values = np.concatenate([values, halfway])
    exponents = np.frexp(values.astype(np.float64))[1] - 1
    step = 2.0 ** (exponents - 10.0)
    expected = np.rint(values.astype(np.float64) / step) * step
    assert np.array_equal(round_tf32(torch.from_numpy(values)).double().numpy(), expected)
    odd = torch.tensor([float("nan"), float("inf"), -float("inf")])
    torch.testing.assert_close(round_tf32(odd), odd, equal_nan=True)


@pytest.mark.parametrize(("precision", "bits"), [(Precision.tf32, 10), (Precision.bf16, 7)])
def test_rounded_products_stay_within_their_bound(precision: Precision, bits: int) -> None:
    """|error| <= 2 u sum|a b| with u = 2^-(bits + 1) for the factors, and once more for a rounded result; the gradients
    likewise."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(3, 40, 40, generator=generator).requires_grad_() for _ in range(2))
    g = torch.randn(3, 40, 40, generator=generator)
    found = product(a, b, precision)
    found.backward(g.to(found.dtype))
    A, B, G = a.detach().double(), b.detach().double(), g.double()
    assert a.grad is not None
    assert b.grad is not None
    for got, left, right in ((found, A, B), (a.grad, G, B.mT), (b.grad, A.mT, G)):
        bound = 2.0 ** -(bits + 1) * (3.1 if precision is Precision.bf16 else 2.1) * (left.abs() @ right.abs())
        error = (got.detach().double() - left @ right).abs()
        assert bool((error <= bound).all())
        assert error.max() > 1e-5, "nothing was rounded"


@pytest.mark.parametrize("precision", [Precision.tf32, Precision.bf16])
def test_precision_changes_the_curves_a_little(precision: Precision) -> None:
    full = curve(made(*COMPANY))
    rounded = curve(made(*(replace(s, model=replace(s.model, precision=precision)) for s in COMPANY)))
    assert not torch.equal(full, rounded)
    torch.testing.assert_close(rounded, full, rtol=0.03, atol=0)


def test_precision_is_part_of_a_run_only_where_it_is_not_fp32() -> None:
    full = member()
    assert replace(full, model=replace(MODEL, precision=Precision.fp32)).run_id == full.run_id
    assert replace(full, model=replace(MODEL, precision=Precision.bf16)).run_id != full.run_id


@pytest.mark.parametrize("cache", [1, 2**40])
def test_division_leaves_the_curves_within_rounding(monkeypatch: pytest.MonkeyPatch, cache: int) -> None:
    expected = torch.stack([curve(made(spec))[:, 0] for spec in COMPANY], dim=1)
    monkeypatch.setattr(population, "CACHE_BYTES", cache)
    divided = made(*COMPANY)
    torch.testing.assert_close(curve(divided), expected, rtol=2e-5, atol=0)
    if cache == 1:
        assert len(divided.chunks()) == len(COMPANY)


@pytest.mark.parametrize("fitting", [1, 2])
def test_a_step_that_runs_out_of_memory_is_taken_again(monkeypatch: pytest.MonkeyPatch, fitting: int) -> None:
    """After half of a pass, gradients included: the curves are those of members that trained alone."""
    expected = torch.stack([curve(made(spec))[:, 0] for spec in COMPANY], dim=1)
    monkeypatch.setattr(population, "CACHE_BYTES", 2**40)
    one = made(*COMPANY)
    real = one._losses

    def small(leaves, *rest):
        losses, right = real(leaves, *rest)
        if len(losses) > fitting:
            losses.sum().backward(retain_graph=True)  # leaves gradients behind, as a failure half-way would
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses, right

    one._losses = small
    torch.testing.assert_close(curve(one), expected, rtol=2e-5, atol=0)
    assert len(one.chunks()) == len(COMPANY) // fitting
    assert one.shortages == {1: 2, 2: 1}[fitting] or torch.get_num_threads() > 1


def test_what_does_not_fit_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(*COMPANY)

    def never(*inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    one._losses = never
    with pytest.raises(torch.OutOfMemoryError):
        one.step(one.batch(0, 0))


@pytest.mark.slow
def test_compiled_steps_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torch.compile's tracing and its own derivatives, where norms and rotations are plain expressions; masks
    from counters, as on a GPU."""
    monkeypatch.setattr(population, "fused", functools.partial(torch.compile, backend="aot_eager", dynamic=False))
    monkeypatch.setattr(dropout, "draw", lambda p, seeds, step, lanes, device: counted(seeds, step))  # both sides
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        traced = curve(made(*COMPANY, compiled=True), steps=2)
        torch.testing.assert_close(traced, curve(made(*COMPANY), steps=2), rtol=2e-5, atol=0)
    finally:
        torch.set_num_threads(threads)
        torch._dynamo.reset()


def test_counted_masks_are_independent_coins() -> None:
    """Rate, and correlation between neighbours, sites, members and steps, within five standard errors."""
    n = 400_000
    first, again = (counted([1, 2, 3], 4) for _ in range(2))
    later = counted([1, 2, 3], 5)
    one, two, other = first.mask(100, n // 100), first.mask(n), later.mask(n)
    assert one.shape == (3, 100, n // 100)
    assert torch.equal(one, again.mask(100, n // 100))
    assert one[one > 0].unique().item() == 1.0
    assert first.scale == pytest.approx(1 / 0.9, rel=1e-4)
    rows = torch.cat([(m > 0).double().reshape(3, n) for m in (one, two, other)])
    assert (rows.mean(1) - 0.9).abs().max() < 5 * (0.09 / n) ** 0.5
    centred = (rows - 0.9) / 0.3
    between = centred @ centred.T / n
    assert (between - between.diag().diag()).abs().max() < 5 / n**0.5
    for lag in (1, 2, 3, 16, 64, 512, 4096):
        assert (centred[:, lag:] * centred[:, :-lag]).mean(1).abs().max() < 6 / n**0.5
    alone = counted([2], 4)
    assert torch.equal(alone.mask(n)[0], one[1].flatten())


@pytest.mark.parametrize("probability", [0.0, 0.1])
@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_estimated_activations_are_what_autograd_keeps(probability: float, precision: Precision) -> None:
    model = ModelSpec(2, 128, 2, 64, 256, dropout=probability, precision=precision)
    own = replace(
        member(), model=model, data=replace(DATA, train_length=64, test_length=64, train_size=32), optim=OptimSpec()
    )
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    one = Population([own], [data(own)])
    weights = {w.untyped_storage().data_ptr() for w in one.params.values()}
    tokens = one.batch(0, 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        one._backward(slice(0, 1), tokens, tokens)
    measured = sum(size for place, size in kept.items() if place not in weights)
    estimated = memory.activation_bytes(model, tokens.shape[1], 64, own.task.vocabulary)
    assert 0.8 < estimated / measured < 1.6, (estimated, measured)


@given(members=st.integers(1, 500), each=st.integers(1, 10**9), once=st.integers(0, 10**9), free=st.integers(1, 10**11))
def test_parts_fit_and_are_as_few_as_can_be(members: int, each: int, once: int, free: int) -> None:
    count = memory.parts(members, each, once, free)

    def fits(parts: int) -> bool:
        return -(-members // parts) * each + once <= memory.SHARE * free + 1

    assert 1 <= count <= members
    assert fits(count) or count == members
    assert count == 1 or not fits(count - 1) or -(-members // (count - 1)) == -(-members // count)
    assert memory.parts(members, each, once, None) == 1


def test_peak_memory_sees_an_allocation() -> None:
    memory.release(CPU)  # what is kept would be used again, and nothing new be taken
    with memory.Peak(CPU) as before:
        pass
    with memory.Peak(CPU) as peak:
        torch.ones(64 * 2**20, dtype=torch.uint8)
    assert before.bytes is not None
    assert peak.bytes is not None
    assert 48 * 2**20 < peak.bytes - before.bytes < 200 * 2**20


def test_the_paper_s_members_and_their_memory() -> None:
    """Four fp32 numbers a weight: 6,305,280 x 16 bytes."""
    spec = replace(member(), data=DataSpec(), model=ModelSpec(), optim=OptimSpec())
    spec = replace(spec, task=replace(spec.task, modulus=17))
    assert memory.resident_bytes(spec) == 16 * 6_305_280
    assert memory.checkpoint_bytes(spec) == 4 * 6_305_280


def test_a_finished_population_makes_room_for_the_next() -> None:
    trainer = trained(member())
    seen = weakref.ref(trainer.population)
    trainer.watcher.trainer = trainer  # type: ignore[attr-defined]  # the cycle that a bar makes
    del trainer
    memory.release(CPU)
    assert seen() is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_signs_of_a_full_memory(error: BaseException) -> None:
    assert memory.ran_out(error)
    assert not memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
