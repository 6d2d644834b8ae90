"""What a record is: one measurement of one kind, with the fields that its kind requires.

A record is a typed value; its line of JSON is checked against the type when it is read and when it is written. Each
kind is a class: `AccuracyRecord` (Table 1, figures, verdicts, ledger, league), `LengthsRecord` (effective lengths),
`InterventionsRecord` (exchanged tokens) and those of language models (eval.store.lm_kinds); another kind of measurement
subclasses `Record`. Accuracies are
fractions, losses are nats, lengths are tokens; a number that does not exist is null, never zero. Needs neither torch
nor pandas.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, structs, to_builtins

from models.spec import EncodingSpec, ModelSpec, OptimSpec
from posgen.own_code import refuse_untrusted
from posgen.plain import digest, plain, restore
from posgen.spec import TEXT, DataSpec, Task

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Nats = Annotated[float, Meta(ge=0.0)]
Key = tuple[Any, ...]


class Maker(Struct, frozen=True, omit_defaults=True):
    """What computed a number: code, versions and device. Commit and `git_dirty` are None outside a git work tree.
    `source` is the hash of the code that can change a number (eval.store.provenance); None in older records, whose
    ids and lines it is left out of."""

    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    device: str
    source: str | None = None


class Training(Struct, frozen=True, dict=True):
    """What all records of one training share: the resolved configuration, as plain containers, and who trained it, the
    last one last. A file of records holds it once."""

    config: dict[str, Any]
    trained_by: tuple[Maker, ...]

    def __post_init__(self) -> None:
        # A language model came trained; what it is stands under a key of its own.
        nodes = ("language_model",) if "language_model" in self.config else ("task", "data", "model", "optim")
        for node in nodes:
            if not isinstance(self.config.get(node), dict):
                raise ValueError(f"config.{node} is missing")
        if not self.trained_by:
            raise ValueError("trained_by is empty")

    @cached_property
    def id(self) -> str:
        """12 hex digits of the content."""
        return digest([self.config, to_builtins(self.trained_by)])

    @cached_property
    def task(self) -> Task:
        return _restored(Task, self.config["task"], "task")

    @cached_property
    def data(self) -> DataSpec:
        return _restored(DataSpec, self.config["data"], "data")

    @cached_property
    def model(self) -> ModelSpec:
        return _restored(ModelSpec, self.config["model"], "model")

    @cached_property
    def optim(self) -> OptimSpec:
        return _restored(OptimSpec, self.config["optim"], "optim")

    @cached_property
    def label(self) -> str:
        """How large the profile is, in words; empty where the configuration does not say."""
        node = self.config.get("profile")
        return str(node.get("label") or "") if isinstance(node, dict) else ""


class Record(Struct, frozen=True, kw_only=True, dict=True):
    """What records of every kind have. `run_id` names the training, `sweep` and `profile` say what it belongs to,
    `created` is UTC."""

    kind: ClassVar[str]
    shown_by: ClassVar[str]
    """The command that shows records of this kind."""

    run_id: str
    sweep: str
    profile: str
    created: str
    measured_by: Maker
    training: Training

    @property
    def key(self) -> Key:
        """The identity of a measurement: of two records with equal keys the later one counts."""
        raise NotImplementedError

    def merged(self, older: Record) -> Record:
        """This record in the place of an older one with the same key."""
        return self

    @property
    def trained_by(self) -> tuple[Maker, ...]:
        return self.training.trained_by


class Metrics(Struct, frozen=True, kw_only=True):
    """Means over positions: id_* within the training length, ood_* beyond it, `loss` over both."""

    id_accuracy: Fraction | None
    ood_accuracy: Fraction | None
    loss: Nats | None
    id_loss: Nats | None = None
    ood_loss: Nats | None = None


class Validation(Struct, frozen=True, kw_only=True):
    """One validation of a training under one test encoding."""

    epoch: int
    step: int | None = None
    train_loss: float | None = None
    train_accuracy: Fraction | None = None
    validation_loss: Nats | None = None
    validation_id_accuracy: Fraction | None = None
    validation_ood_accuracy: Fraction | None = None


class PosGenRecord(Record, frozen=True, kw_only=True, dict=True):
    """A measurement of a trained member on PosGen. `protocols` and `pe` name the table entries that it fills;
    `test_encoding` is the label of `encoding` among the member's. `trained_epochs`: of a schedule that goes on."""

    protocols: tuple[str, ...]
    task: str
    pe: str
    train_encoding: str
    test_encoding: str
    seed: int
    status: Literal["finished", "stopped", "diverged"]
    split: str
    accuracy_mode: Literal["teacher_forced", "free_running"]
    selection: str
    checkpoint_epoch: int | None
    length: int
    train_length: int
    metrics: Metrics | None
    diverged_at: dict[str, Any] | None = None
    train_seconds: float | None = None
    trained_epochs: int | None = None
    encoding: dict[str, Any]
    protocol: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.status == "stopped") != (self.trained_epochs is not None):
            raise ValueError("trained_epochs should be a whole number when the status is stopped, and only then")
        if (self.metrics is None) != (self.status == "diverged"):
            raise ValueError("metrics should be null when the status is diverged, and only then")

    @property
    def key(self) -> Key:
        return (
            self.kind, self.profile, self.run_id, self.test_encoding, self.split, self.accuracy_mode, self.length,
            self.pe,
        )  # fmt: skip

    def merged(self, older: Record) -> Record:
        """A replaced record hands its protocols on: a run that was swept under `paper` and later under `zero_shot`
        counts in both."""
        assert isinstance(older, PosGenRecord)
        return structs.replace(self, protocols=tuple(dict.fromkeys((*older.protocols, *self.protocols))))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration of the measurement: the training's, with encoding and protocol measured."""
        measured = {"pe": self.encoding} | ({} if self.protocol is None else {"protocol": self.protocol})
        return {**self.training.config, **measured}

    @cached_property
    def spec(self) -> EncodingSpec:
        """The encoding that the member was tested with. UserError where it needs code that nobody has named."""
        spec: EncodingSpec = _restored(EncodingSpec, self.encoding, "pe")
        refuse_untrusted((spec.kind, spec.scaling), f"the record of run {self.run_id}")
        return spec

    @property
    def of_text(self) -> bool:
        """Whether the task is a text, which is measured by its losses and not by accuracy."""
        return bool(self.training.config["task"].get("rule") == TEXT)

    @property
    def finished(self) -> bool:
        """Whether there are numbers."""
        return self.metrics is not None

    @property
    def id_accuracy(self) -> float | None:
        """Of `metrics`; None for a diverged member too."""
        return self.metrics.id_accuracy if self.metrics else None

    @property
    def ood_accuracy(self) -> float | None:
        """Of `metrics`; None for a diverged member too."""
        return self.metrics.ood_accuracy if self.metrics else None

    @property
    def id_loss(self) -> float | None:
        """Of `metrics`, in nats; None for a diverged member too."""
        return self.metrics.id_loss if self.metrics else None

    @property
    def ood_loss(self) -> float | None:
        """Of `metrics`, in nats; None for a diverged member too."""
        return self.metrics.ood_loss if self.metrics else None


class PositionLosses(Struct, frozen=True, kw_only=True):
    """Mean losses over bins of `width` positions: bin i is over the predicted ones of i width to (i + 1) width - 1, the
    last may be shorter. None where a loss was not finite."""

    width: Annotated[int, Meta(ge=1)]
    nats: tuple[Nats | None, ...]


class Declared(Struct, frozen=True):
    """The declared experiment (conf/experiment) that a measurement was made for, and the digest of its declaration."""

    name: str
    digest: str


class AccuracyRecord(PosGenRecord, frozen=True, kw_only=True, dict=True):
    """Accuracy and loss on the test split at one length. `accuracy_by_position` has null for the seed tokens. A text,
    which is measured by its losses, has `loss_by_position` in its place, and a measurement for a declared experiment
    has `experiment`; other lines do not have these keys."""

    kind = "accuracy"
    shown_by = "posgen table1"

    accuracy_by_position: tuple[Fraction | None, ...] | None = None
    history: tuple[Validation, ...] = ()
    loss_by_position: PositionLosses | None = None
    experiment: Declared | None = None


def _restored(kind: Any, value: Any, name: str) -> Any:
    try:
        return restore(kind, value)
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"config.{name} is damaged, or of a later version ({reason})") from None


def as_training(config: dict[str, Any], trained_by: tuple[Maker, ...]) -> Training:
    """A training from its resolved configuration; the encoding and the protocol measured belong to the records."""
    return Training(plain({k: v for k, v in config.items() if k not in ("pe", "protocol")}), trained_by)
