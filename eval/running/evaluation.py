"""Testing members that are done: under their own encodings after a sweep, and again under whatever is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eval.measuring.member import Context, Data, record, test
from eval.measuring.planned import Cell, PlannedMember, count, encoding_labels
from eval.running.job import RunSettings, set_threads
from eval.running.progress import Bar
from eval.running.tracker import Tracker
from eval.store.kinds import AccuracyRecord
from eval.store.records import append
from eval.store.runs import Run
from models.encodings import build
from models.spec import AccuracyMode, EncodingSpec
from models.workers import parallel
from posgen.errors import BadValue, UserError, require


def evaluate_members(
    members: Sequence[tuple[PlannedMember, Run]],
    settings: RunSettings,
    context: Context,
    data: Data,
    tracker: Tracker,
) -> None:
    """Test members that are done, or stopped, under their own encodings, record it, and tell the tracker."""
    if not members:
        return
    with Bar(f"testing {count(len(members))}", len(members), 0, settings.progress) as bar:

        def measured(one: tuple[PlannedMember, Run]) -> list[AccuracyRecord]:
            records = _test_own(*one, settings, context, data)
            bar.advance()
            return records

        # Their outcomes, or states, are on disk already: should this be interrupted, the same call tests them again.
        found = parallel(measured, members, settings.device)
    append(settings.records_path, [record for records in found for record in records])
    for (member, run), records in zip(members, found, strict=True):
        own = [r for r in records if r.accuracy_mode == member.spec.accuracy.value]
        tracker.finish(member.spec.run_id, _summary(own), run.info()["status"])


def _test_own(
    member: PlannedMember, run: Run, settings: RunSettings, context: Context, data: Data
) -> list[AccuracyRecord]:
    spec, info, result = member.spec, run.info(), run.result()
    tokens = data.test_tokens(spec, spec.data.test_length)
    records = []
    labels = encoding_labels(spec.test_encodings)
    for label, accuracy in dict.fromkeys((c.test_encoding, c.accuracy) for c in member.cells):
        encoding, mode, scores = spec.test_encodings[labels.index(label)], AccuracyMode(accuracy), None
        served = tuple(c for c in member.cells if (c.test_encoding, c.accuracy) == (label, accuracy))
        if info["status"] != "diverged":
            scores = test(result.weights(label), spec, encoding, tokens, mode, settings.device)
        records += [
            record(
                replace(member, cells=served), context, pe, label, scores,
                encoding=encoding, length=spec.data.test_length, accuracy=mode,
                checkpoint_epoch=result.chosen.get(label), history=result.history, info=info,
            )
            for pe in dict.fromkeys(c.pe for c in served)
        ]  # fmt: skip
    return records


def _summary(records: Sequence[AccuracyRecord]) -> dict[str, dict[str, Any]]:
    return {
        r.test_encoding: {
            **(msgspec.to_builtins(r.metrics) if r.metrics else {}),
            "checkpoint_epoch": r.checkpoint_epoch,
        }
        for r in records
    }


def evaluate_runs(
    run_ids: Sequence[str],
    settings: RunSettings,
    lengths: Sequence[int] | None = None,
    encodings: Sequence[EncodingSpec] | None = None,
    accuracy: AccuracyMode = AccuracyMode.teacher_forced,
) -> list[AccuracyRecord]:
    """Measure finished runs again: at other lengths (tokens), under other encodings, or running free.

    None stands for the run's own lengths and encodings. An encoding that was not validated is measured with the
    weights chosen for the member's first test encoding. Appends the records and returns them.
    """
    set_threads(settings.threads)
    data, context = Data(settings.data_dir), Context.here(settings.sweep, settings.profile, settings.device)
    jobs: list[tuple[Run, PlannedMember, EncodingSpec, int]] = []
    for run_id in run_ids:
        run = Run(settings.runs_dir, run_id)
        spec, info = run.spec(), run.info()
        if info.get("status") != "finished":
            diverged = info.get("status") == "diverged"
            remedy = "there is nothing to measure" if diverged else "train it to the end first"
            raise UserError(f"run={run_id}: is {info.get('status')}, not finished; {remedy}")
        # Those measured as the member's own are: what is measured now is told by the record's accuracy_mode.
        cells = tuple(c for c in (Cell(*cell) for cell in info["cells"]) if c.accuracy == spec.accuracy.value)
        for encoding in encodings or ():
            trains = build(encoding, spec.model.head_dim).trainable
            if trains and encoding.key != spec.train_encoding.key:
                raise BadValue(
                    "pe", encoding.name, f"needs weights that run {run_id} never trained; train with it first"
                )
        prefix = spec.task.prefix_length
        for length in lengths or [spec.data.test_length]:
            # Attention costs the square of the length: a million tokens are days on a CPU.
            remedy = f"use more than the {prefix} tokens of the seed and at most 1048576"
            require(prefix < length <= 1_048_576, "length", length, remedy)
            member = PlannedMember(spec, cells, run.config())
            jobs += [(run, member, encoding, length) for encoding in encodings or spec.test_encodings]
    with Bar(f"measuring {len(jobs)} times", len(jobs), 0, settings.progress) as bar:

        def measured(job: tuple[Run, PlannedMember, EncodingSpec, int]) -> AccuracyRecord:
            found = _again(*job, accuracy, settings, context, data)
            bar.advance()
            return found

        records = parallel(measured, jobs, settings.device)
    append(settings.records_path, records)
    return records


def _again(
    run: Run,
    member: PlannedMember,
    encoding: EncodingSpec,
    length: int,
    accuracy: AccuracyMode,
    settings: RunSettings,
    context: Context,
    data: Data,
) -> AccuracyRecord:
    spec, result = member.spec, run.result()
    labels = encoding_labels(spec.test_encodings)
    own = [label for label, test_encoding in zip(labels, spec.test_encodings, strict=True) if test_encoding == encoding]
    validated = own[0] if own else labels[0]
    # What was not planned is called by its parameters too: two forms of one encoding are two measurements.
    label = own[0] if own else f"{encoding.name}~{encoding.key}"
    scores = test(result.weights(validated), spec, encoding, data.test_tokens(spec, length), accuracy, settings.device)
    return record(
        member, context, encoding.name, label, scores,
        encoding=encoding, length=length, accuracy=accuracy, checkpoint_epoch=result.chosen.get(validated),
        history=result.history, info=run.info(),
    )  # fmt: skip
