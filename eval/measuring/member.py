"""Measuring a member: its validation while it trains, its test afterwards, and the records of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from eval.measuring.cost import as_tested
from eval.measuring.metrics import Evaluation, Scores, bin_width, measure
from eval.measuring.passes import Ticked, nothing
from eval.measuring.planned import PlannedMember
from eval.store.kinds import (
    AccuracyRecord,
    Declared,
    Maker,
    Metrics,
    PosGenRecord,
    PositionLosses,
    Training,
    Validation,
    as_training,
)
from eval.store.provenance import maker
from eval.store.runs import now
from models.encodings import Encoding, build
from models.population import Population
from models.spec import AccuracyMode, EncodingSpec, MemberSpec
from models.training import Progress
from posgen.answers import labelled, labels
from posgen.dataset import Dataset, prepare
from posgen.errors import require
from posgen.generate import generate
from posgen.generate import nothing as nothing_made
from posgen.plain import digest, plain


class Asked(NamedTuple):
    """Sequences [N, L'], and their labels [N, L'] (posgen.answers) where these are not simply the next tokens."""

    tokens: Tensor
    answers: Tensor | None

    def first(self, count: int) -> Asked:
        """The first so many sequences."""
        return Asked(self.tokens[:count], None if self.answers is None else self.answers[:count])


class Data:
    """The data sets of a sweep, each made or checked once, as tensors that members share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sets: dict[str, Dataset] = {}
        self._tensors: dict[tuple[str, str, str], Tensor] = {}

    def of(self, spec: MemberSpec, ticked: Callable[[int], None] = nothing_made) -> Dataset:
        """The member's data set, generated on first use; `ticked` is told of positions that were made."""
        key = digest([spec.task, spec.data])
        if key not in self._sets:
            self._sets[key] = prepare(spec.task, spec.data, self.root, ticked)
        return self._sets[key]

    def tokens(self, spec: MemberSpec, split: str) -> Tensor:
        """Tokens [N, L] of a split; the same object for every member of that data."""
        key = (digest([spec.task, spec.data]), split, "tokens")
        if key not in self._tensors:
            self._tensors[key] = _tensor(getattr(self.of(spec), split))
        return self._tensors[key]

    def answers(self, spec: MemberSpec, split: str) -> Tensor:
        """The right answers [N, L] to a split: its labels, or its tokens, the very same object, where it has none."""
        of_splits = self.of(spec).labels
        if of_splits is None:
            return self.tokens(spec, split)
        key = (digest([spec.task, spec.data]), split, "labels")
        if key not in self._tensors:
            self._tensors[key] = torch.from_numpy(of_splits[split])
        return self._tensors[key]

    def test(self, spec: MemberSpec, length: int, sequences: int | None = None) -> Asked:
        """The first so many test sequences (None: all) at any length: cut, or continued from their seeds."""
        tokens, answers = self.tokens(spec, "test")[:sequences], self.answers(spec, "test")[:sequences]
        if length <= tokens.shape[1]:
            return Asked(tokens[:, :length], answers[:, :length] if labelled(spec.task) else None)
        longest = f"a text is not continued: use at most its {tokens.shape[1]} tokens (data.test_length)"
        require(not spec.task.is_text, "length", length, longest)
        made = generate(spec.task, self.of(spec).test[:sequences, : spec.task.drawn_length], length)
        return Asked(_tensor(made), torch.from_numpy(labels(spec.task, made)) if labelled(spec.task) else None)


def _tensor(tokens: np.ndarray) -> Tensor:
    # torch computes with uint8; the wider unsigned kinds become int32, which holds every token id.
    return torch.from_numpy(tokens if tokens.dtype == np.uint8 else tokens.astype(np.int32))


class Validator:
    """Measures a population on its validation sequences, every served member under each of its test encodings.
    `compiled`: fuse the passes with torch.compile, as a training does its steps. `ticked`: told as a validation goes
    what share of it was done."""

    def __init__(self, data: Data, compiled: bool = False, ticked: Ticked = nothing) -> None:
        self.data, self.compiled, self.ticked = data, compiled, ticked
        self._encodings: dict[str, tuple[Encoding, ...]] = {}

    def __call__(self, population: Population, members: Sequence[Progress]) -> list[dict[str, dict[str, float | None]]]:
        # Members that share a slot (one training, say for two protocols) share what is measured of it.
        evaluations: dict[tuple[int, str], Evaluation] = {}
        for member in members:
            tokens, answers = self.data.tokens(member.spec, "validation"), self.data.answers(member.spec, "validation")
            for encoding, built in zip(member.spec.test_encodings, self._built(member.spec), strict=True):
                evaluations.setdefault((member.slot, encoding.key), Evaluation(member.slot, built, tokens, answers))
        first = population.members[0]
        measured = measure(
            population.params, first.model, first.task, list(evaluations.values()), compiled=self.compiled,
            ticked=self.ticked,
        )  # fmt: skip
        scores = dict(zip(evaluations, measured, strict=True))
        summaries = []
        for member in members:
            spec = member.spec
            summaries.append({
                label: scores[member.slot, encoding.key].summary(spec.task, spec.data.train_length)
                for label, encoding in spec.labels.items()
            })  # fmt: skip
        return summaries

    def _built(self, spec: MemberSpec) -> tuple[Encoding, ...]:
        key = digest([spec.test_encodings, spec.model.head_dim])
        if key not in self._encodings:
            self._encodings[key] = tuple(build(e, spec.model.head_dim) for e in spec.test_encodings)
        return self._encodings[key]


@dataclass(frozen=True)
class Context:
    """What every record of a sweep carries: the names it belongs to, and what this process computes with."""

    sweep: str
    profile: str
    maker: Maker
    experiment: Declared | None = None

    @staticmethod
    def here(sweep: str, profile: str, device: str, experiment: Declared | None = None) -> Context:
        return Context(sweep, profile, maker(device), experiment)

    def measured_again(self, source: PosGenRecord, **own: Any) -> dict[str, Any]:
        """The fields of a record of another measurement, here and now, of the member that `source` is about: its own,
        and of the member what `source` has."""
        return {
            **{name: getattr(source, name) for name in PosGenRecord.__struct_fields__},
            "sweep": self.sweep, "profile": self.profile, "created": now(), "measured_by": self.maker, **own,
        }  # fmt: skip


def scores_of(
    weights: Mapping[str, Tensor],
    spec: MemberSpec,
    encoding: EncodingSpec,
    asked: Asked,
    accuracy: AccuracyMode,
    device: str,
    ticked: Ticked = nothing,
) -> Scores:
    """One member's chosen weights (no member axis) on test sequences under an encoding; in fp32, whatever the
    precision of the training, so that a record's numbers are those of the weights alone. `ticked`: see `measure`."""
    params = {name: weight[None].to(device) for name, weight in weights.items()}
    evaluation, spec = Evaluation(0, build(encoding, spec.model.head_dim), *asked), as_tested(spec)
    return measure(params, spec.model, spec.task, [evaluation], accuracy, ticked=ticked)[0]


def record(
    member: PlannedMember,
    context: Context,
    pe: str,
    label: str,
    scores: Scores | None,
    *,
    encoding: EncodingSpec,
    length: int,
    accuracy: AccuracyMode,
    checkpoint_epoch: int | None,
    history: Sequence[Mapping[str, Any]],
    info: Mapping[str, Any],
    run_id: str,
) -> AccuracyRecord:
    """A measurement as the record store holds it. `scores` None: the member diverged. `info`: run.json of its run."""
    spec = member.spec
    targets = [target for target in member.targets if target.pe == pe and target.test_encoding == label]
    protocols = member.config.get("protocols", {})
    stopped = scores is not None and info.get("status") == "stopped"
    return AccuracyRecord(
        run_id=run_id,
        sweep=context.sweep,
        profile=context.profile,
        created=now(),
        measured_by=context.maker,
        training=_training(member, context, info),
        protocols=tuple(target.protocol for target in targets),
        task=spec.task.name,
        pe=pe,
        train_encoding=spec.train_encoding.name,
        test_encoding=label,
        seed=spec.seed,
        status="diverged" if scores is None else "stopped" if stopped else "finished",
        split="test",
        accuracy_mode=accuracy.value,
        selection=spec.selection.value,
        checkpoint_epoch=checkpoint_epoch,
        length=length,
        train_length=spec.data.train_length,
        metrics=metrics_of(scores, spec) if scores else None,
        diverged_at=info.get("diverged_at"),
        train_seconds=info.get("train_seconds"),
        trained_epochs=history[-1]["epoch"] if stopped else None,
        encoding=plain(encoding),
        protocol=protocols.get(targets[0].protocol) if targets else member.config.get("protocol"),
        accuracy_by_position=tuple(map(_number, scores.accuracy)) if scores and not spec.task.is_text else None,
        history=tuple(_validation(row, label) for row in history if label in row["validation"]),
        loss_by_position=_binned(scores, spec) if scores and spec.task.is_text else None,
        experiment=context.experiment,
    )


def metrics_of(scores: Scores, spec: MemberSpec) -> Metrics:
    """The means that a record holds."""
    return Metrics(**scores.summary(spec.task, spec.data.train_length))


def _binned(scores: Scores, spec: MemberSpec) -> PositionLosses:
    width = bin_width(spec.data.train_length, len(scores.loss))
    nats = (None if loss is None else round(loss, 6) for loss in scores.binned_loss(width))
    return PositionLosses(width=width, nats=tuple(nats))


def _training(member: PlannedMember, context: Context, info: Mapping[str, Any]) -> Training:
    """What the records of a training share; who trained it stands in run.json."""
    makers = tuple(msgspec.convert(entry, Maker) for entry in info.get("trained_by") or ())
    return as_training(member.config, makers or (context.maker,))


def _number(value: float) -> float | None:
    # Six digits hold every multiple of 1/N of the paper's 1,000 test sequences, and keep the file small.
    return round(float(value), 6) if np.isfinite(value) else None


def _validation(row: Mapping[str, Any], label: str) -> Validation:
    measured = row["validation"][label]
    return Validation(
        epoch=row["epoch"],
        step=row["step"],
        train_loss=row["train_loss"],
        train_accuracy=row["train_accuracy"],
        **{f"validation_{name}": measured[name] for name in ("loss", "id_accuracy", "ood_accuracy")},
    )
