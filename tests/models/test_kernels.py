"""Both roads of a matrix product: torch's own, and oneDNN where the rule takes it. float64 is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models import kernels
from models.kernels import multiply
from models.precision import product
from models.spec import Precision
from tests.models.test_population import member, population

FAMILIES = [None, kernels.ZEN_4, kernels.ZEN_5] if kernels.has_linear() else [None]
SHAPES = [(1, 300, 64, 192), (1, 1024, 22, 64), (1, 1024, 64, 22), (1, 20, 64, 64), (3, 300, 64, 32), (1, 64, 1024, 64)]


@pytest.fixture(autouse=True)
def forgetting() -> Iterator[None]:
    kernels._family.cache_clear()
    kernels.bf16_is_slow.cache_clear()
    yield
    kernels._family.cache_clear()
    kernels.bf16_is_slow.cache_clear()


def choose(monkeypatch: pytest.MonkeyPatch, family: int | None) -> None:
    monkeypatch.setattr(kernels, "_family", lambda: family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n", "i", "k", "o"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_products_and_gradients(
    monkeypatch: pytest.MonkeyPatch, family: int | None, n: int, i: int, k: int, o: int, transposed: bool
) -> None:
    choose(monkeypatch, family)
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(n, i, k, generator=generator).requires_grad_()
    b = torch.randn(n, *((o, k) if transposed else (k, o)), generator=generator).requires_grad_()
    g = torch.randn(n, i, o, generator=generator)
    out = product(a, b, Precision.fp32, transposed)
    out.backward(g)
    A, B, G = a.detach().double(), b.detach().double(), g.double()
    right = B.mT if transposed else B
    of_b = A.mT @ G
    for found, expected in ((out, A @ right), (a.grad, G @ right.mT), (b.grad, of_b.mT if transposed else of_b)):
        assert found is not None
        scale = expected.abs().max()
        # The rule takes oneDNN with AVX-512 alone; forced without it, its sums of 1,024 terms are a little less exact.
        bound = 1e-6 if family is None or torch.backends.cpu.get_cpu_capability() == "AVX512" else 2e-6
        torch.testing.assert_close(found.detach().double() / scale, expected / scale, rtol=0, atol=bound)


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_oneDNN_takes_what_the_rule_says(monkeypatch: pytest.MonkeyPatch, family: int) -> None:  # noqa: N802
    choose(monkeypatch, family)
    a, b, small = torch.randn(1, 1024, 64), torch.randn(1, 64, 192), torch.randn(1, 16, 16)
    assert kernels._by_onednn(a, b)
    assert not kernels._by_onednn(small, small)
    assert not kernels._by_onednn(a.expand(2, -1, -1), b.expand(2, -1, -1))
    weight_gradient = (a.transpose(1, 2), torch.randn(1, 1024, 192))
    assert kernels._by_onednn(*weight_gradient) == (family == kernels.ZEN_5)
    monkeypatch.setattr(kernels, "bf16_is_slow", lambda device: False)
    assert torch.equal(multiply(a.bfloat16(), b.bfloat16()), torch.bmm(a.bfloat16(), b.bfloat16()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_curve_is_the_same_on_every_road(monkeypatch: pytest.MonkeyPatch, family: int | None) -> None:
    monkeypatch.setattr(kernels, "ROWS", 32)  # so that these small members take the road of large ones

    def curve() -> torch.Tensor:
        one = population(member())
        return torch.stack([one.step(one.batch(0, i % 3)).loss for i in range(6)])

    choose(monkeypatch, None)
    expected = curve()
    choose(monkeypatch, family)
    found = curve()
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=0)
    assert torch.equal(found, curve()), "the same machine gives the same bits every time"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "expected"),
    [
        ("AuthenticAMD", 26, "fma avx2 avx512f avx512_bf16", 26),
        ("AuthenticAMD", 25, "fma avx2 avx512f", 25),
        ("AuthenticAMD", 25, "fma avx2", None),
        ("GenuineIntel", 6, "fma avx2 avx512f", None),
        ("AuthenticAMD", "?", "avx512f", None),
    ],
)
def test_the_rule_reads_the_processor(
    monkeypatch: pytest.MonkeyPatch, vendor: str, family: object, flags: str, expected: int | None
) -> None:
    text = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: {flags}\n"
    monkeypatch.setattr(Path, "read_text", lambda self, *more: text)
    assert kernels._family() == expected
    kernels._family.cache_clear()
    monkeypatch.setenv("POSGEN_KERNEL", "torch")
    assert kernels._family() is None


def test_without_the_private_operator_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        mkldnn = object()

    monkeypatch.setattr(torch, "ops", Nothing())
    assert not kernels.has_linear()
    assert kernels._family() is None
    assert kernels.kernels() == "torch.bmm"


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_slow_where_onednn_has_no_code_for_it(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    class Ops:
        class mkldnn:  # noqa: N801 - as torch names it
            _is_mkldnn_bf16_supported = staticmethod(lambda: fast)

    monkeypatch.setattr(torch, "ops", Ops())
    assert kernels.bf16_is_slow("cpu") is not fast
    assert not kernels.bf16_is_slow("cuda")
    monkeypatch.setattr(torch, "ops", object())
    kernels.bf16_is_slow.cache_clear()
    assert not kernels.bf16_is_slow("cpu")


@pytest.mark.parametrize("slow", [True, False])
def test_bf16_products_are_rounded_once_on_every_road(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """Factors that bf16 holds exactly; the result is within half a unit of its 8 bits of float64's, and of what the
    sum of 300 terms in fp32 may be off."""
    monkeypatch.setattr(kernels, "bf16_is_slow", lambda device: slow)
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(2, *shape, generator=generator).bfloat16() for shape in ((40, 300), (300, 24)))
    out = multiply(a, b)
    assert out.dtype is torch.bfloat16
    exact = a.double() @ b.double()
    bound = 2.0**-8 * exact.abs() * 1.001 + 300 * 2.0**-23 * (a.double().abs() @ b.double().abs())
    assert ((out.double() - exact).abs() <= bound).all()
    row = multiply(a[:, :1], b)  # no plain loop that adds in bf16
    assert ((row.double() - exact[:, :1]).abs() <= bound[:, :1]).all()
