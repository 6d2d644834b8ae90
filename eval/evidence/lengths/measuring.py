"""Finished members measured at lengths far beyond their own: what `posgen lengths --measure` computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eval.evidence.lengths.effective import last_window, windows
from eval.measuring.member import Context, Data, metrics_of, scores_of
from eval.measuring.passes import Ticked
from eval.running.fitting import check_measuring
from eval.running.job import RunSettings, set_threads
from eval.running.progress import Bar
from eval.running.timing import Measuring, seconds_a_sequence
from eval.store.kinds import AccuracyRecord, Key
from eval.store.probes import LengthsRecord, Windows
from eval.store.records import append, load_if_there
from eval.store.runs import Run
from models.encodings import Encoding, build
from models.encodings.base import PREFIX
from models.encodings.inputs import Far
from models.memory import shortage_told
from models.positions import try_out
from models.spec import AccuracyMode, EncodingSpec, ModelSpec
from models.streams import stream
from models.workers import parallel
from posgen.errors import BadValue
from posgen.plain import plain

_AT_ONCE = 8  # measurements between two writes: what an interruption may cost
_MODE = AccuracyMode.teacher_forced


@dataclass(frozen=True)
class Measurement:
    """One member under one encoding at one length. `source` is the record of its test in Table 1 or the league, whose
    weights and settings it is; `fitted_to` the test length that the encoding's scaling is made for, None without one.

    `ends` are the lengths (tokens) at which the accuracy is recorded; those of whole windows come to it when
    `every`, which takes an encoding that is the same in sequences of every length.
    """

    source: AccuracyRecord
    protocols: tuple[str, ...]
    spec: EncodingSpec
    length: int
    ends: tuple[int, ...]
    every: bool
    fitted_to: int | None

    @property
    def label(self) -> str:
        """How the record calls the test encoding: as its source does when it is that one, else with its parameters."""
        return self.source.test_encoding if self.is_own else f"{self.spec.name}~{self.spec.key}"

    @property
    def is_own(self) -> bool:
        """Whether this is the encoding that the source was tested with."""
        return self.source.spec.key == self.spec.key

    def rows(self, sequences: int) -> int:
        """How many sequences are measured when `sequences` are asked for: never more than the test split has."""
        return min(sequences, self.source.training.data.test_size)

    @property
    def key(self) -> Key:
        """That of the record to come."""
        source = self.source
        return (
            LengthsRecord.kind, source.profile, source.run_id, self.label, source.split, _MODE.value, self.length,
            source.pe,
        )  # fmt: skip


def longest(encoding: Encoding, model: ModelSpec, lengths: Sequence[int]) -> tuple[list[int], str]:
    """The lengths (tokens) that an encoding can be measured at, and why not at the others, if so."""
    for at, length in enumerate(lengths):
        try:
            try_out(encoding, model, [length + int(model.bos)])
        except BadValue as error:
            return list(lengths[:at]), str(error)
    return list(lengths), ""


def same_at_every_length(encoding: Encoding, model: ModelSpec, lengths: Sequence[int]) -> bool:
    """Whether what the decoder reads of the first positions is the same in sequences of all these lengths (tokens), so
    that one measurement at the longest, causal as it is, holds those of the others."""
    lengths = [length + int(model.bos) for length in lengths]
    whole = encoding.positions(lengths[-1])
    weights = {PREFIX + k: w[None] for k, w in encoding.all_initial(model, stream(0, "lengths")).items()}
    for length in lengths[:-1]:
        short = encoding.positions(length)
        if not torch.equal(short, whole[:length]):
            return False
        ends, more = short[[0, -1]], whole[[0, length - 1, -1]]
        pairs = (
            (encoding.rotation(short, length), encoding.rotation(short, lengths[-1])),
            tuple(_tables(encoding.far(short, n)) for n in (length, lengths[-1])),
            (encoding.bias(weights, ends, model), _corner(encoding.bias(weights, more, model))),
            (encoding.embedding(weights, ends, model), _rows(encoding.embedding(weights, more, model))),
        )
        if not all(_equal(a, b) for a, b in pairs):
            return False
    return True


def _tables(far: Far | None) -> Any:
    return None if far is None else (far.query, far.key)


def _corner(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias[..., :2, :2]


def _rows(embedding: Tensor | None) -> Tensor | None:
    return None if embedding is None else embedding[:, :2]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(map(_equal, a, b))
    if a is None or b is None:
        return a is b
    # One position more or less changes how a product is summed up, and so its last digits.
    return bool(torch.allclose(a, b, rtol=1e-4, atol=1e-5))


def todo(measurements: Sequence[Measurement], settings: RunSettings, window: int, sequences: int) -> list[Measurement]:
    """Those of the measurements that the store does not hold yet for all their protocols, with this window and number
    of sequences."""
    known = {record.key: record for record in load_if_there(settings.records_path, LengthsRecord)}

    def done(measurement: Measurement) -> bool:
        record = known.get(measurement.key)
        if record is None or not {*measurement.protocols} <= {*record.protocols}:
            return False
        windows, way = record.windows, (window, measurement.rows(sequences))
        return (windows.width, windows.sequences) == way and {*measurement.ends} <= {*windows.ends}

    return [measurement for measurement in measurements if not done(measurement)]


def check_fits(measurements: Sequence[Measurement], settings: RunSettings, sequences: int) -> None:
    """Raise BadValue, with the numbers, where one of these measurements cannot fit into memory."""
    jobs = (_Job(measurement, settings, Data(settings.data_dir)) for measurement in measurements)
    check_measuring([job.wanted(sequences) for job in jobs], settings, key="lengths")


def estimate(measurements: Sequence[Measurement], settings: RunSettings, sequences: int) -> float:
    """Seconds that these measurements take here: a batch, or a part of a sequence where it is long, is timed for every
    length and kind of encoding."""
    set_threads(settings.threads)
    data, timed = Data(settings.data_dir), dict[tuple[int, str], float]()
    total = 0.0
    with shortage_told("measuring"), Bar("timing", len(measurements), 0, settings.progress, after=1.0) as bar:
        for measurement in measurements:
            kind = (measurement.length, build(measurement.spec, measurement.source.training.model.head_dim).structure())
            if kind not in timed:
                job = _Job(measurement, settings, data)
                weights = job.run.weights(measurement.source.test_encoding)
                timed[kind] = seconds_a_sequence(job.wanted(sequences), weights, data, settings.device)
            total += timed[kind] * measurement.rows(sequences)
            bar.advance()
    return total


def measure(measurements: Sequence[Measurement], settings: RunSettings, window: int, sequences: int) -> None:
    """Measure and record. What is done is kept when this is interrupted, and the same call goes on from there."""
    set_threads(settings.threads)
    data, context = Data(settings.data_dir), Context.here(settings.sweep, settings.profile, settings.device)
    title = f"measuring {len(measurements)} times"
    with shortage_told("measuring"), Bar(title, len(measurements), 0, settings.progress) as bar:

        def measured(measurement: Measurement) -> LengthsRecord:
            return _record(_Job(measurement, settings, data), context, window, sequences, bar.advance)

        for start in range(0, len(measurements), _AT_ONCE):
            append(settings.records_path, parallel(measured, measurements[start : start + _AT_ONCE]))


class _Job:
    """A measurement with the run that it is about."""

    def __init__(self, measurement: Measurement, settings: RunSettings, data: Data) -> None:
        self.measurement, self.settings, self.data = measurement, settings, data
        self.run = Run(settings.runs_dir, measurement.source.run_id)
        self.spec = self.run.spec()

    def wanted(self, sequences: int) -> Measuring:
        """What is to be measured when so many sequences are asked for."""
        one = self.measurement
        return Measuring(self.spec, one.spec, one.length, one.rows(sequences), _MODE)

    def scores(self, sequences: int, ticked: Ticked) -> Any:
        """eval.measuring.metrics.Scores under the encoding, from the first so many test sequences."""
        measurement = self.measurement
        asked = self.data.test(self.spec, measurement.length, sequences)
        weights = self.run.weights(measurement.source.test_encoding)
        return scores_of(weights, self.spec, measurement.spec, asked, _MODE, self.settings.device, ticked)


def _record(job: _Job, context: Context, window: int, sequences: int, ticked: Ticked) -> LengthsRecord:
    measurement, source = job.measurement, job.measurement.source
    scores = job.scores(sequences, ticked)
    accuracy = [float(value) if value == value else None for value in scores.accuracy]
    by_end = windows(accuracy, window) if measurement.every else {}
    by_end |= {end: value for end in measurement.ends if (value := last_window(accuracy[:end], window)) is not None}
    ends = tuple(sorted(by_end))
    return LengthsRecord(
        **context.measured_again(
            source,
            protocols=measurement.protocols,
            test_encoding=measurement.label,
            accuracy_mode=_MODE.value,
            length=measurement.length,
            metrics=metrics_of(scores, job.spec),
            encoding=plain(measurement.spec),
        ),
        windows=Windows(
            width=window,
            ends=ends,
            accuracy=tuple(round(by_end[end], 6) for end in ends),
            sequences=measurement.rows(sequences),
            fitted_to=measurement.fitted_to,
        ),
    )
