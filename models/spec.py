"""What a member of the population is: model, encodings, optimisation and seed, as plain values that check themselves.

Defaults are the paper's (section 4.2 of arXiv 2403.00071) and, where it is silent, the released code's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from posgen.errors import require
from posgen.naming import check_name
from posgen.plain import digest, identity, plain
from posgen.spec import DataSpec, Task


class SoftmaxScale(Enum):
    """Ledger row 11. `none` is T5's (q's initialisation carries 1/sqrt(d)); `inverse_sqrt` is the paper's equation."""

    none = "none"
    inverse_sqrt = "inverse_sqrt"


class Schedule(Enum):
    """Ledger row 13: OneCycle with momentum cycling (released code), or a constant rate."""

    one_cycle = "one_cycle"
    constant = "constant"


class Precision(Enum):
    """Of the matrix products. Weights, optimiser, position tables, norms and the residual stream are fp32 always.

    `tf32` rounds the factors to 10 bits (a CPU emulates it, slowly; an encoding's own products there stay fp32), `bf16`
    rounds factors and products to 7 bits, but not where the vocabulary is read or written.
    """

    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


class YarnRamp(Enum):
    """Ledger row 5. `index`: linear in the feature index, over frequencies (released code and transformers).
    `wavelength`: linear in L / lambda, over wavelengths (the paper's text)."""

    index = "index"
    wavelength = "wavelength"


class NtkBase(Enum):
    """Ledger row 26. `power`: b * s^(d / (d - 2)) (released code). `plain`: s * b (the paper's text)."""

    power = "power"
    plain = "plain"


def check_betas(beta_fast: float, beta_slow: float) -> None:
    """The ends of YaRN's ramp, in rotations within its length."""
    require(beta_slow > 0.0, "beta_slow", beta_slow, "use a number of rotations above 0 (the code: 1)")
    require(beta_fast > beta_slow, "beta_fast", beta_fast, f"use more than beta_slow ({beta_slow})")


class LogitScale(Enum):
    """How attention logits grow with the number n of keys that a query sees (models.encodings.logit_scale). `log_n`:
    max(1, log n / log L), 1 for all that is seen in training; `ssmax`: s log n with s trained; `ssmax_fixed`: not."""

    none = "none"
    log_n = "log_n"
    ssmax = "ssmax"
    ssmax_fixed = "ssmax_fixed"


class Selection(Enum):
    """Ledger row 14: which checkpoint is tested. `first_best_id`: the first with the best ID accuracy on validation
    sequences, `best_loss` with the lowest loss over all their positions, `best_id_loss` over the ID ones."""

    first_best_id = "first_best_id"
    last = "last"
    best_loss = "best_loss"
    best_id_loss = "best_id_loss"

    def of(self, task: Task) -> Selection:
        """What this rule means for a task: `best_id_loss` in the place of `first_best_id` for a text, which is measured
        by its losses. (Share of bytes guessed right: coarse, and rising where the loss no longer falls.)"""
        return Selection.best_id_loss if task.is_text and self is Selection.first_best_id else self


class AccuracyMode(Enum):
    """Ledger row 16: argmax after the true tokens, or after the model's own."""

    teacher_forced = "teacher_forced"
    free_running = "free_running"


DEFAULT_BASE = float("10000")
"""The base where none was given. `spec.base is DEFAULT_BASE` distinguishes it from a given 10,000: without a given one,
a language model keeps its own. Made at run time, so that no literal elsewhere is the same object."""


@dataclass(frozen=True)
class EncodingSpec:
    """A position encoding by name. Of kind `rotary`: base frequencies -> a scaling -> optionally Resonance.

    `kind` names a file of models.encodings.kinds, `scaling` one of models.encodings.scalings, or a class of the user's
    own as `package.module:Class` or `path/to/file.py:Class`; `params` are its fields (for YaRN: factor, ramp_length,
    beta_fast, ...).
    """

    name: str = "rope"
    scaling: str = "none"
    resonance: bool = False
    base: float = DEFAULT_BASE
    params: dict[str, Any] = field(default_factory=dict)
    # Came later; left out of the identity at the value that every earlier run had.
    kind: str = field(default="rotary", metadata={"neutral": "rotary"})
    # Of a user's own class the sha256 of its file (12 hex digits): an edited encoding is another run.
    code: str = field(default="", metadata={"neutral": ""})
    # Of the attention logits, whatever the kind. `logit_length`: L of log_n and of the s that ssmax starts from, in
    # tokens; conf.compose puts the training length there. `logit_s`: s, None: one over the mean of log n up to L.
    logit_scale: LogitScale = field(default=LogitScale.none, metadata={"neutral": "none"})
    logit_length: int | None = field(default=None, metadata={"neutral": None})
    logit_s: float | None = field(default=None, metadata={"neutral": None})
    # The name of the encoding that it trains as, where it differs only beyond the training length: their trainings are
    # one. Empty: its own name. What it is called is no part of what it is.
    trained_as: str = field(default="", metadata={"place": True})

    def __post_init__(self) -> None:
        check_name("name", self.name)
        require(1.0 < self.base <= 1e12, "base", self.base, "use a number above 1 (the paper: 10000)")
        scales, ssmax = self.logit_scale is not LogitScale.none, self.logit_scale in SSMAX
        length, s = self.logit_length, self.logit_s
        require(scales or length is None, "logit_length", length, "does nothing without logit_scale: leave it out")
        require(length is None or length >= 2, "logit_length", length, "use the training length, 2 or more tokens")
        require(ssmax or s is None, "logit_s", s, "does nothing without logit_scale=ssmax: leave it out")
        require(s is None or 0.0 < s <= 1e3, "logit_s", s, "use a number above 0 (null: one over the mean of log n)")

    @property
    def key(self) -> str:
        """A short identity of everything but the name: equal keys are equal encodings."""
        return digest({key: value for key, value in identity(self).items() if key != "name"})


SSMAX = (LogitScale.ssmax, LogitScale.ssmax_fixed)


@dataclass(frozen=True)
class ModelSpec:
    """The decoder (paper section 4.2; T5-Small layers). Widths are per model, dropout is a probability."""

    layers: int = 2
    d_model: int = 512
    heads: int = 8
    head_dim: int = 64
    d_ff: int = 2_048
    dropout: float = 0.1
    norm_eps: float = 1e-6
    bos: bool = True
    softmax_scale: SoftmaxScale = SoftmaxScale.none
    freeze_ffn: bool = False
    precision: Precision = field(default=Precision.fp32, metadata={"neutral": "fp32"})

    def __post_init__(self) -> None:
        for key, top in (("layers", 64), ("d_model", 16_384), ("heads", 256), ("d_ff", 65_536)):
            require(1 <= getattr(self, key) <= top, key, getattr(self, key), f"use 1 to {top}")
        require(
            2 <= self.head_dim <= 512 and self.head_dim % 2 == 0,
            "head_dim",
            self.head_dim,
            "use an even number from 2 to 512 (rotary pairs; the paper: 64)",
        )
        require(0.0 <= self.dropout <= 0.99, "dropout", self.dropout, "use 0 to 0.99 (the paper: 0.1)")
        require(0.0 < self.norm_eps < 1.0, "norm_eps", self.norm_eps, "use 0 < norm_eps < 1 (the paper: 1e-6)")


@dataclass(frozen=True)
class OptimSpec:
    """AdamW and its schedule. `validate_every` counts epochs; `batch_size` counts sequences."""

    epochs: int = 150
    batch_size: int = 128
    lr: float = 2e-4
    weight_decay: float = 1e-2
    schedule: Schedule = Schedule.one_cycle
    pct_start: float = 0.1
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    beta1: float = 0.9
    beta2: float = 0.999
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    eps: float = 1e-8
    validate_every: int = 2

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 100_000, "epochs", self.epochs, "use 1 to 100000 (the paper: 150)")
        require(1 <= self.batch_size <= 65_536, "batch_size", self.batch_size, "use 1 to 65536 (the paper: 128)")
        require(0.0 < self.lr <= 1.0, "lr", self.lr, "use 0 < lr <= 1 (the paper: 2e-4)")
        require(0.0 <= self.weight_decay < 1.0, "weight_decay", self.weight_decay, "use 0 <= weight_decay < 1")
        require(0.0 < self.pct_start < 1.0, "pct_start", self.pct_start, "use 0 < pct_start < 1 (the code: 0.1)")
        for key in ("div_factor", "final_div_factor"):
            require(1.0 <= getattr(self, key) <= 1e12, key, getattr(self, key), "use a number from 1 to 1e12")
        for key in ("beta1", "beta2", "base_momentum", "max_momentum"):
            require(0.0 <= getattr(self, key) < 1.0, key, getattr(self, key), "use 0 <= value < 1")
        require(0.0 < self.eps <= 1.0, "eps", self.eps, "use 0 < eps <= 1 (torch: 1e-8)")
        require(1 <= self.validate_every <= self.epochs, "validate_every", self.validate_every,
                f"use 1 to epochs ({self.epochs})")  # fmt: skip


@dataclass(frozen=True)
class MemberSpec:
    """One training: everything that decides the numbers that come out of it.

    `test_encodings` are validated during training and measured after it; the checkpoint is chosen for each of them.
    """

    task: Task
    data: DataSpec
    train_encoding: EncodingSpec
    test_encodings: tuple[EncodingSpec, ...]
    model: ModelSpec
    optim: OptimSpec
    seed: int
    selection: Selection = Selection.first_best_id
    accuracy: AccuracyMode = AccuracyMode.teacher_forced

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")

    @property
    def run_id(self) -> str:
        """The identity of the run: 12 hex digits of the hash of every field that can change its weights or which of
        them are chosen. How it is tested is no part of it: runs grow by further test encodings."""
        return digest(identity(replace(self, test_encodings=(), accuracy=AccuracyMode.teacher_forced)))

    @property
    def run_id_of_version_0_1(self) -> str:
        """The identity of then, which test encodings and accuracy were part of."""
        return digest(identity(self))

    @property
    def trajectory(self) -> str:
        """Members of equal trajectory have the same weights at every step: they differ in how these are validated,
        chosen and measured at most, so that one training serves them all."""
        return replace(self, selection=Selection.first_best_id).run_id

    def label(self, encoding: EncodingSpec) -> str:
        """What an encoding that this member is tested with is called: by its name when the member was trained with it,
        else `name~key`, because a name may stand for several (YaRN with the text's lengths, with the code's)."""
        return encoding.name if encoding.key == self.train_encoding.key else f"{encoding.name}~{encoding.key}"

    @property
    def labels(self) -> dict[str, EncodingSpec]:
        """The test encodings by label."""
        return {self.label(encoding): encoding for encoding in self.test_encodings}

    @property
    def shape_key(self) -> str:
        """Members of equal shape key can train side by side in one population."""
        data = {k: v for k, v in plain(self.data).items() if k not in ("seed", "splits")}
        # Hidden answers are as many as fed back ones, interleaved ones half as many.
        asked = ["interleaved"] if self.task.is_interleaved else []
        key = [self.task.vocabulary, self.task.prefix_length, data, plain(self.model), plain(self.optim), *asked]
        return digest(key)
