"""Testing trained members: under their own encodings after a sweep, and again under other lengths or encodings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eval.measuring.member import Context, Data, record, scores_of
from eval.measuring.passes import Ticked
from eval.measuring.planned import PlannedMember, Target, count
from eval.running.fitting import check_measuring
from eval.running.job import RunSettings, set_threads
from eval.running.progress import Bar
from eval.running.timing import Measuring, seconds_a_sequence, takes_long
from eval.running.tracker import Tracker
from eval.store.kinds import AccuracyRecord
from eval.store.records import append
from eval.store.runs import Run
from models import memory
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
    """Test members that are done, or stopped, under their own encodings, and record it; their tracking ends."""
    if not members:
        return
    with Bar(f"testing {count(len(members))}", len(members), 0, settings.progress) as bar:

        def tested(entry: tuple[PlannedMember, Run]) -> list[AccuracyRecord]:
            return _test(*entry, settings, context, data, bar.advance)

        # Their outcomes, or states, are on disk already: should this be interrupted, the same call tests them again.
        records_by_member = parallel(tested, members, settings.device)
    for _, run in members:
        run.check_claim()
    # One append for all: `complete` asks for every record of a member, so that half of them would be tested again.
    append(settings.records_path, [record for records in records_by_member for record in records])
    for (member, run), records in zip(members, records_by_member, strict=True):
        # What nobody has recorded yet is the only copy of its result: `posgen clean` asks this.
        run.report(recorded=sorted({*(run.info().get("recorded") or []), str(settings.records_path.resolve())}))
        # A training may serve targets of another accuracy as well; its tracker knows one number a test encoding.
        shown = [r for r in records if r.accuracy_mode == member.spec.accuracy.value]
        tracker.finish(member.spec.run_id, _summary(shown), run.status)


def _test(
    member: PlannedMember, run: Run, settings: RunSettings, context: Context, data: Data, ticked: Ticked
) -> list[AccuracyRecord]:
    spec, info, result = member.spec, run.info(), run.result()
    asked = data.test(spec, spec.data.test_length)
    records = []
    # Several targets may ask for one measurement (paper and zero_shot_text both test RoPE): it is made once.
    places = dict.fromkeys((target.test_encoding, target.accuracy) for target in member.targets)

    def told(share: float) -> None:
        ticked(share / len(places))

    for label, accuracy in places:
        encoding, mode, scores = spec.labels[label], AccuracyMode(accuracy), None
        served = tuple(t for t in member.targets if (t.test_encoding, t.accuracy) == (label, accuracy))
        if run.status != "diverged":
            scores = scores_of(result.weights(label), spec, encoding, asked, mode, settings.device, told)
        else:
            told(1.0)
        records += [
            record(
                replace(member, targets=served), context, pe, label, scores,
                encoding=encoding, length=spec.data.test_length, accuracy=mode,
                checkpoint_epoch=result.chosen.get(label), history=result.history, info={**info, "status": run.status},
                run_id=run.run_id,
            )
            for pe in dict.fromkeys(target.pe for target in served)
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
    tell: Callable[[float], None] = lambda seconds: None,
) -> list[AccuracyRecord]:
    """Measure finished runs again: at other lengths (tokens), under other encodings, or by free-running generation.

    None: the lengths and encodings that the run was planned with. An encoding that was not validated is measured with
    the weights chosen for the member's first test encoding. Appends the records and returns them. `tell` is called
    before long measurements, with the seconds that they take by those of shorter ones. Raises BadValue for what cannot
    fit into memory.
    """
    set_threads(settings.threads)
    data, context = Data(settings.data_dir), Context.here(settings.sweep, settings.profile, settings.device)
    measurements: list[tuple[Run, PlannedMember, EncodingSpec, int]] = []
    for run_id in run_ids:
        run = Run(settings.runs_dir, run_id)
        spec, info = run.spec(), run.info()
        if run.status != "finished":
            remedy = "there is nothing to measure" if run.status == "diverged" else "train it to the end first"
            raise UserError(f"run={run_id}: is {run.status}, not finished; {remedy}")
        validated = [encoding for label, encoding in run.labels(spec).items() if label in run.result().chosen]
        # One target for each encoding: those of another accuracy would double them, and what is measured now says its
        # accuracy_mode itself.
        targets = tuple(t for t in (Target(*cell) for cell in info["cells"]) if t.accuracy == spec.accuracy.value)
        for encoding in encodings or ():
            built, with_ = (build(e, spec.model.head_dim) for e in (encoding, spec.train_encoding))
            # Other frequencies at the same weights are another encoding (PoPE, with Resonance); FIRE's are not T5's.
            same = encoding.key == spec.train_encoding.key or built.own_structure() == with_.own_structure()
            lacks = built.trainable and not same
            # A trained logit scale is one kind of weights, whatever encoding it stands beside.
            if lacks or (built.trains_logits and not with_.trains_logits):
                raise BadValue(
                    "pe", encoding.name, f"needs weights that run {run_id} never trained; train with it first"
                )
        least = spec.task.shortest
        for length in lengths or [spec.data.test_length]:
            # Attention costs the square of the length: a million tokens are days on a CPU.
            remedy = f"use {least} tokens, the seed and an answer, to 1048576"
            require(least <= length <= 1_048_576, "length", length, remedy)
            member = PlannedMember(spec, targets, run.config())
            measurements += [(run, member, encoding, length) for encoding in encodings or validated]
    # All of them are checked by now: a mistake in the last one leaves nothing half measured.
    wanted = [Measuring(m.spec, e, n, m.spec.data.test_size, accuracy) for _, m, e, n in measurements]
    check_measuring(wanted, settings)
    title = f"measuring {len(measurements)} times"
    with memory.shortage_told("measuring"):
        if (seconds := _long(wanted, [run for run, _, _, _ in measurements], settings, data)) is not None:
            tell(seconds)
        with Bar(title, len(measurements), 0, settings.progress) as bar:

            def measured(measurement: tuple[Run, PlannedMember, EncodingSpec, int]) -> AccuracyRecord:
                return _measure_again(*measurement, accuracy, settings, context, data, bar.advance)

            records = parallel(measured, measurements, settings.device)
    append(settings.records_path, records)
    return records


def _long(wanted: Sequence[Measuring], runs: Sequence[Run], settings: RunSettings, data: Data) -> float | None:
    """Seconds that long measurements take by those of shorter sequences; None where all are over soon."""
    if not takes_long(wanted):
        return None
    timed: dict[tuple[str, str, int], float] = {}
    total = 0.0
    for one, run in zip(wanted, runs, strict=True):
        key = (one.spec.shape_key, build(one.encoding, one.spec.model.head_dim).structure(), one.length)
        if key not in timed:
            result = run.result()
            weights = result.weights(next(iter(result.chosen)))
            timed[key] = seconds_a_sequence(one, weights, data, settings.device)
        total += timed[key] * one.sequences
    return total


def _measure_again(
    run: Run,
    member: PlannedMember,
    encoding: EncodingSpec,
    length: int,
    accuracy: AccuracyMode,
    settings: RunSettings,
    context: Context,
    data: Data,
    ticked: Ticked,
) -> AccuracyRecord:
    spec, result = member.spec, run.result()
    labels = {label: test for label, test in run.labels(spec).items() if label in result.chosen}
    planned = [label for label, test in labels.items() if test == encoding]
    validated = planned[0] if planned else next(iter(labels))
    # What was not planned is called by its parameters too: two forms of one encoding are two measurements.
    label = planned[0] if planned else f"{encoding.name}~{encoding.key}"
    asked = data.test(spec, length)
    scores = scores_of(result.weights(validated), spec, encoding, asked, accuracy, settings.device, ticked)
    return record(
        member, context, encoding.name, label, scores,
        encoding=encoding, length=length, accuracy=accuracy, checkpoint_epoch=result.chosen.get(validated),
        history=result.history, info=run.info(), run_id=run.run_id,
    )  # fmt: skip
