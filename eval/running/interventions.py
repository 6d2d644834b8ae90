"""Interventions on finished members: what `posgen interventions --measure` computes, records and goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from conf.rules import InterventionRules
from eval.measuring.cost import as_tested, pass_operations
from eval.measuring.interventions import Counts, Intervention, chosen_positions, count, interventions, reader
from eval.measuring.member import Context, Data
from eval.measuring.passes import WHOLE
from eval.running.fitting import check_measuring
from eval.running.job import RunSettings, set_threads
from eval.running.progress import Bar
from eval.running.timing import Measuring, seconds_a_sequence
from eval.store.kinds import AccuracyRecord, Key, Metrics
from eval.store.probes import Interventions, InterventionsRecord
from eval.store.records import append, load_if_there
from eval.store.runs import Run
from models.encodings import Encoding, build
from models.memory import shortage_told
from models.parameters import stacked
from models.spec import AccuracyMode, MemberSpec
from posgen.answers import scored_positions
from posgen.errors import BadValue, require
from posgen.plain import digest, plain

_AT_ONCE = 8  # members in one pass, and between two writes: what an interruption may cost
_MODE = AccuracyMode.teacher_forced


@dataclass(frozen=True)
class Subject:
    """A member under the encoding that `source`, the record of its test, tested it with, for these protocols. `planned`
    are the interventions, by which its record is made."""

    source: AccuracyRecord
    protocols: tuple[str, ...]
    rules: InterventionRules
    planned: tuple[Intervention, ...]

    @property
    def rows(self) -> int:
        """How many sequences are read: never more than the test split has."""
        return min(self.rules.sequences, self.source.training.data.test_size)

    @property
    def places(self) -> list[tuple[int, int]]:
        """(position of an answer, position of its exchanged token), by the answer."""
        return sorted((position, one.source) for one in self.planned for position in one.answers)

    @property
    def key(self) -> Key:
        """That of the record to come."""
        source = self.source
        return (
            InterventionsRecord.kind, source.profile, source.run_id, source.test_encoding, source.split, _MODE.value,
            source.length, source.pe, self.rules.exchange,
        )  # fmt: skip

    def is_in(self, record: InterventionsRecord | None) -> bool:
        """Whether the record holds all that this measures."""
        if record is None or not {*self.protocols} <= {*record.protocols}:
            return False
        done = record.interventions
        places = list(zip(done.positions, done.sources, strict=True))
        return (done.sequences, done.seed, places) == (self.rows, self.rules.seed, self.places)


def subjects(tested: Iterable[tuple[str, AccuracyRecord]], rules: InterventionRules) -> list[Subject]:
    """The members behind these (protocol, record of a test), each once, whatever protocols it serves.

    Raises BadValue for positions without an answer, a task without the token that is to be exchanged, and sequences
    that are too long.
    """
    by_place: dict[tuple[str, str, str], Subject] = {}
    for protocol, record in tested:
        place = (record.run_id, record.test_encoding, record.pe)
        known = by_place.get(place)
        if known is None:
            known = Subject(record, (), rules, tuple(planned(record, rules)))
        by_place[place] = replace(known, protocols=tuple(dict.fromkeys((*known.protocols, protocol))))
    return list(by_place.values())


def planned(record: AccuracyRecord, rules: InterventionRules) -> list[Intervention]:
    """The interventions on a member's test sequences. Raises as `subjects` does."""
    task, length = record.training.task, record.length
    longest = f"interventions read a sequence in one piece: use at most {WHOLE['cpu']} tokens"
    require(length <= WHOLE["cpu"], "data.test_length", length, longest)
    scored = scored_positions(task, length)
    for position in rules.at or ():
        remedy = f"{position} has no answer on {record.task}; use positions {scored[0]} to {scored[-1]}"
        require(position in scored, "interventions.at", rules.at, f"{remedy}{', every second' * (scored.step == 2)}")
    positions = rules.at or chosen_positions(task, record.train_length, length, rules.positions)
    found = interventions(task, positions, rules.exchange)
    if not found:
        raise BadValue(
            "interventions.exchange",
            rules.exchange,
            f"no answer of {record.task} depends on such a token; choose others with --task",
        )
    return found


def todo(wanted: Sequence[Subject], settings: RunSettings) -> list[Subject]:
    """Those that the store does not hold yet, measured in this way."""
    known = {record.key: record for record in load_if_there(settings.records_path, InterventionsRecord)}
    return [subject for subject in wanted if not subject.is_in(known.get(subject.key))]


def check_fits(wanted: Sequence[Subject], settings: RunSettings) -> None:
    """Raise BadValue, with the numbers, where one of these measurements cannot fit into memory."""
    check_measuring([_Job(subject, settings).measuring for subject in wanted], settings, key="data.test_length")


def estimate(wanted: Sequence[Subject], settings: RunSettings) -> float:
    """Seconds that these measurements take here: a batch of whole sequences is timed for every model and kind of
    encoding, and what else is read counts by its operations."""
    set_threads(settings.threads)
    data, timed = Data(settings.data_dir), dict[str, float]()
    total = 0.0
    with shortage_told("measuring"), Bar("timing", len(wanted), 0, settings.progress, after=1.0) as bar:
        for subject in wanted:
            job = _Job(subject, settings)
            if job.kind not in timed:
                weights = job.run.weights(subject.source.test_encoding)
                timed[job.kind] = seconds_a_sequence(job.measuring, weights, data, settings.device)
            total += timed[job.kind] * subject.rows * job.sequences_each
            bar.advance()
    return total


def measure(wanted: Sequence[Subject], settings: RunSettings) -> None:
    """Measure and record. What is done is kept when this is interrupted, and the same call goes on from there."""
    set_threads(settings.threads)
    data, context = Data(settings.data_dir), Context.here(settings.sweep, settings.profile, settings.device)
    groups: dict[str, list[_Job]] = {}
    for subject in wanted:
        job = _Job(subject, settings)
        groups.setdefault(job.together, []).append(job)
    parts = [jobs[at : at + _AT_ONCE] for jobs in groups.values() for at in range(0, len(jobs), _AT_ONCE)]
    title = f"exchanging tokens for {len(wanted)} members"
    with shortage_told("measuring"), Bar(title, len(wanted), 0, settings.progress) as bar:
        for part in parts:
            append(settings.records_path, _measured(part, settings, context, data, bar.advance))


class _Job:
    """A subject with the run that it is about."""

    def __init__(self, subject: Subject, settings: RunSettings) -> None:
        self.subject = subject
        self.run = Run(settings.runs_dir, subject.source.run_id)

    @cached_property
    def spec(self) -> MemberSpec:
        return self.run.spec()

    @cached_property
    def encoding(self) -> Encoding:
        return build(self.subject.source.spec, self.spec.model.head_dim)

    @property
    def measuring(self) -> Measuring:
        """One reading of its sequences."""
        source = self.subject.source
        return Measuring(self.spec, source.spec, source.length, self.subject.rows, _MODE)

    @property
    def kind(self) -> str:
        """Jobs of equal kind take equally long a sequence."""
        return digest([plain(as_tested(self.spec).model), self.encoding.structure(), self.subject.source.length])

    @property
    def together(self) -> str:
        """Jobs that are equal here read the same sequences in the same passes."""
        subject, spec = self.subject, self.spec
        return digest([self.kind, spec.task, spec.data, subject.rows, subject.source.train_length])

    @property
    def sequences_each(self) -> float:
        """Whole sequences that all readings of one sequence amount to, by their operations."""
        whole = pass_operations(self.spec, self.subject.source.length)
        return 1 + sum(pass_operations(self.spec, one.answers[-1] + 1) / whole for one in self.subject.planned)

    def tokens(self, data: Data) -> Tensor:
        """The first test sequences [N, L']."""
        return data.test(self.spec, self.subject.source.length, self.subject.rows).tokens


def _measured(
    jobs: Sequence[_Job], settings: RunSettings, context: Context, data: Data, ticked: Callable[[float], None]
) -> list[InterventionsRecord]:
    """The records of members that read the same sequences."""
    first = jobs[0]
    spec, subject = as_tested(first.spec), first.subject
    weights = stacked([job.run.weights(job.subject.source.test_encoding) for job in jobs])
    params = {name: weight.to(settings.device) for name, weight in weights.items()}
    read = reader(params, spec.model, spec.task, [job.encoding for job in jobs], subject.source.length)
    right, counts = count(
        read, spec.task, first.tokens(data), subject.planned, subject.rules.seed,
        lambda share: ticked(share * len(jobs)),
    )  # fmt: skip
    return [_record(job, context, *result) for job, *result in zip(jobs, right, counts, strict=True)]


def _record(job: _Job, context: Context, right: np.ndarray, counts: Counts) -> InterventionsRecord:
    subject, source = job.subject, job.subject.source
    positions, sources = zip(*subject.places, strict=True)
    return InterventionsRecord(
        **context.measured_again(
            source, protocols=subject.protocols, accuracy_mode=_MODE.value, metrics=_metrics(right, source)
        ),
        interventions=Interventions(
            exchange=subject.rules.exchange,  # type: ignore[arg-type]
            sequences=subject.rows,
            seed=subject.rules.seed,
            positions=positions,
            sources=sources,
            **{name: tuple(map(int, column)) for name, column in vars(counts).items()},
        ),
    )


def _metrics(right: np.ndarray, source: AccuracyRecord) -> Metrics:
    """Accuracy of the unchanged sequences, from whether each answer is right [N, L]."""
    scored = scored_positions(source.training.task, source.length)
    within = [position for position in scored if position < source.train_length]
    beyond = [position for position in scored if position >= source.train_length]
    accuracy = [float(right[:, side].mean()) if side else None for side in (within, beyond)]
    return Metrics(id_accuracy=accuracy[0], ood_accuracy=accuracy[1], loss=None)
