"""The matrix products of a training step, and the best rate that any kernel here reaches on their shapes.

The rate is measured with every kernel that could compute the products, not only with the one that the population uses:
a comparison with that one alone would hide that it is slow.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.kernels import has_linear, linear
from models.population import Population
from models.precision import allowed, product
from models.spec import MemberSpec, Precision
from models.workers import parallel

Kernel = Callable[[Tensor, Tensor, Tensor], Iterable[Tensor]]
"""kernel(a, b, out): the n products of a [n, i, k] and b [n, k, o], in `out` [n, i, o] or in tensors of their own."""

LONG_ENOUGH = {"cpu": 1e8, "cuda": 2e11}
"""Operations that make the cost of starting threads or GPU kernels negligible; smaller products are repeated."""
HOPELESS = 1.5
"""Kernels slower than the fastest by more than this factor in the warm-up round are dropped."""


_SIDE = {"cpu": 768, "cuda": 8192}
"""Of the square matrices whose product is timed by `rate`."""


@dataclass(frozen=True)
class Product:
    """`count` products a @ b of one member, each [rows, inner] x [inner, columns]. `transposed`: whether a and b lie in
    memory as their transposes, which decides how fast a kernel reads them."""

    count: int
    rows: int
    inner: int
    columns: int
    precision: Precision
    transposed: tuple[bool, bool] = (False, False)

    @property
    def operations(self) -> int:
        """Floating-point operations of all `count`: two for each multiplication with its addition."""
        return 2 * self.count * self.rows * self.inner * self.columns


def matrix_products(spec: MemberSpec) -> list[Product]:
    """The products of a member's forward and backward pass over a full batch, in the order of the forward pass.
    Attention counts as a whole, with the half that the causal mask hides."""
    model, length = spec.model, spec.data.train_length + int(spec.model.bos) - 1
    D, inner, precision = model.d_model, model.heads * model.head_dim, model.precision
    rows, heads = spec.optim.batch_size * length, spec.optim.batch_size * model.heads
    vocabulary = spec.task.vocabulary
    ends = Precision.fp32 if precision is Precision.bf16 else precision  # as models.transformer has it
    trained = not model.freeze_ffn
    layer = [
        *_with_gradients(1, rows, D, 3 * inner, precision),
        *_with_gradients(heads, length, model.head_dim, length, precision, transposed=True),  # q k^T
        *_with_gradients(heads, length, length, model.head_dim, precision),
        *_with_gradients(1, rows, inner, D, precision),
        *_with_gradients(1, rows, D, model.d_ff, precision, of_b=trained),
        *_with_gradients(1, rows, model.d_ff, D, precision, of_b=trained),
    ]
    return [
        *_with_gradients(1, rows, vocabulary, D, ends, of_a=False),  # one-hot rows, which need no gradient
        *layer * model.layers,
        *_with_gradients(1, rows, D, vocabulary, ends, transposed=True),  # the embedding again, transposed
    ]


def _with_gradients(
    count: int,
    rows: int,
    inner: int,
    columns: int,
    precision: Precision,
    transposed: bool = False,
    of_a: bool = True,
    of_b: bool = True,
) -> list[Product]:
    """y = a @ b, and its gradients da = dy b^T and db = a^T dy where they are needed. `transposed`: b lies in memory as
    [columns, inner], and so does its gradient."""
    products = [Product(count, rows, inner, columns, precision, (False, transposed))]
    if of_a:
        products.append(Product(count, rows, columns, inner, precision, (False, not transposed)))
    if of_b:
        sides = (columns, rows, inner) if transposed else (inner, rows, columns)
        products.append(Product(count, *sides, precision, (True, False)))
    return products


def step_operations(spec: MemberSpec) -> int:
    """Floating-point operations of the products of a member's step over a full batch."""
    return sum(product_.operations for product_ in matrix_products(spec))


def rate(device: str) -> float:
    """Operations a second of one large product here and now, the best of a few: an upper limit for a whole step."""
    side = _SIDE[torch.device(device).type]
    a, b = (torch.randn(1, side, side, device=device) for _ in range(2))
    times = []
    for _ in range(4):
        wait(device)
        before = time.perf_counter()
        product(a, b, Precision.fp32)
        wait(device)
        times.append(time.perf_counter() - before)
    return 2 * side**3 / min(times)


class Reach:
    """What the machine can reach on the products of a population's step. Call `time` once in each round, beside the
    other timings; then ask for `seconds`."""

    def __init__(self, population: Population) -> None:
        self.device, self.members = population.device, len(population)
        self.products = Counter(matrix_products(population.members[0]))  # equal products are timed once
        self.at_once = max(chunk.stop - chunk.start for chunk in population.chunks())
        # As in the population, every core computes a product of its own, even with fewer members than cores.
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        kernels = {p.precision: candidates(self.device, p.precision) for p in self.products}
        self._kernels = {p: dict(kernels[p.precision]) for p in self.products}
        self._times: dict[tuple[Product, str], list[float]] = {}
        self._memory = [self._numbers() for _ in range(self.threads)]

    def time(self, counted: bool = True) -> None:
        """One round of every product with every kernel. In a round that is not counted slow kernels are dropped."""
        for product_, kernels in self._kernels.items():
            times = {name: self._seconds(product_, kernel) for name, kernel in kernels.items()}
            for name, seconds in times.items():
                if counted:
                    self._times.setdefault((product_, name), []).append(seconds)
                elif seconds > HOPELESS * min(times.values()):
                    del kernels[name]

    @property
    def seconds(self) -> float:
        """Of the products of a step of all members, each with the kernel of the smallest median over the rounds."""
        medians = {key: statistics.median(times) for key, times in self._times.items()}
        fastest = {p: min(medians[p, name] for name in kernels) for p, kernels in self._kernels.items()}
        return self.members * sum(times * fastest[p] for p, times in self.products.items())

    @property
    def operations(self) -> int:
        """Floating-point operations of the products of a step of all members."""
        return self.members * sum(times * p.operations for p, times in self.products.items())

    def _seconds(self, product_: Product, kernel: Kernel) -> float:
        """Seconds for one member's `count` products at the rate that all cores reach together."""
        repeats = max(1, round(LONG_ENOUGH[self.device.type] / (self.at_once * product_.operations)))
        factors = [self._factors(product_, memory) for memory in self._memory]

        def work(thread: int) -> None:
            for _ in range(repeats):
                kernel(*factors[thread])

        with allowed(product_.precision, self.device):
            wait(self.device)
            before = time.perf_counter()
            parallel(work, range(self.threads), self.device)
            wait(self.device)
            return (time.perf_counter() - before) / (self.threads * repeats * self.at_once)

    def _numbers(self) -> dict[torch.dtype, tuple[Tensor, Tensor]]:
        """Memory of one thread for the factors and the result of any of the products. Random, not constant: constant
        operands draw less power and inflate a GPU's throughput."""
        memory = {}
        for kind in {p.precision is Precision.bf16 for p in self.products}:
            products = [p for p in self.products if (p.precision is Precision.bf16) is kind]
            size, result = (max(map(f, products)) for f in (self._factor_elements, self._result_elements))
            numbers, dtype = torch.randn(size, device=self.device), torch.bfloat16 if kind else torch.float32
            memory[dtype] = numbers.to(dtype), torch.zeros(result, dtype=dtype, device=self.device)
        return memory

    def _factor_elements(self, p: Product) -> int:
        return self._second(p) + self.at_once * p.count * p.inner * p.columns

    def _result_elements(self, p: Product) -> int:
        return self.at_once * p.count * p.rows * p.columns

    def _second(self, p: Product) -> int:
        """Where the second factor begins in the memory of both: aligned, as a tensor of its own would be."""
        return -(-self.at_once * p.count * p.rows * p.inner // 64) * 64

    def _factors(self, p: Product, memory: dict[torch.dtype, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """a [n, rows, inner], b [n, inner, columns] and the result [n, rows, columns], n = members at once x count."""
        numbers, out = memory[torch.bfloat16 if p.precision is Precision.bf16 else torch.float32]
        n = self.at_once * p.count

        def factor(start: int, rows: int, columns: int, transposed: bool) -> Tensor:
            flat = numbers[start : start + n * rows * columns]
            return flat.view(n, columns, rows).transpose(1, 2) if transposed else flat.view(n, rows, columns)

        a = factor(0, p.rows, p.inner, p.transposed[0])
        b = factor(self._second(p), p.inner, p.columns, p.transposed[1])
        return a, b, out[: self._result_elements(p)].view(n, p.rows, p.columns)


def candidates(device: torch.device, precision: Precision) -> dict[str, Kernel]:
    """Every kernel here that can compute a product at this precision, by name. A GPU has torch.bmm alone."""
    kernels: dict[str, Kernel] = {"torch.bmm": lambda a, b, out: torch.bmm(a, b, out=out)}
    if device.type != "cpu":
        return kernels
    kernels["torch.mm"] = _one_by_one
    if has_linear(torch.bfloat16 if precision is Precision.bf16 else torch.float32):
        kernels["oneDNN's linear"] = _onednn_linear
    # Without the rounding to TF32 that a CPU emulates: it is no part of the product whose rate is measured.
    exact = Precision.fp32 if precision is Precision.tf32 else precision
    kernels["the population's own"] = lambda a, b, out: product(a, b, exact)
    return kernels


def _one_by_one(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    for left, right, result in zip(a, b, out, strict=True):
        torch.mm(left, right, out=result)
    return out


def _onednn_linear(a: Tensor, b: Tensor, out: Tensor) -> list[Tensor]:
    return [linear(left, right) for left, right in zip(a, b, strict=True)]


def wait(device: str | torch.device) -> None:
    """Wait until a GPU has done what was asked of it: Python does not."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
