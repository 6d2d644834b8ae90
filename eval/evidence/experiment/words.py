"""What the numbers of an experiment are and what they hide, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from conf import names
from conf.experiments import Experiment
from eval.evidence.experiment.judge import Judged, Outcome
from eval.evidence.experiment.measured import ALL, Measured
from eval.evidence.verdict.paired import seeds_text
from eval.store.gathering import making

_LISTED = 6
"""Cells of a task that are named one by one."""


def heading(experiment: Experiment) -> str:
    """The experiment, when it was declared, and its digest."""
    return f"Experiment {experiment.name}, declared {experiment.date}, digest {experiment.digest}: {experiment.title}"


def rule(experiment: Experiment) -> str:
    """How comparisons are decided."""
    declared = experiment.rule
    return (
        f"Rule: OOD accuracy in points, paired by seed; a comparison is decided at level {declared.alpha:g} after "
        "Holm's adjustment over all comparisons of the experiment, separately for differences (paired t, two-sided) "
        f"and for margins (one-sided t tests); intervals are {declared.confidence:.0%}. A hypothesis is held when "
        "every one of its comparisons comes out as it says, refuted when one comes out against it, undecided "
        "otherwise, and not judged before all declared seeds are there."
    )


def caption(measured: Measured) -> str:
    """Profile, seeds and protocol of what is judged."""
    profile = f"{measured.profile} ({measured.label})" if measured.label else measured.profile
    declared = "" if measured.declared else " This profile is not declared: what it shows decides nothing."
    protocol = names.protocol(measured.experiment.protocol)
    return f"Profile {profile}; {seeds_text(sorted(measured.seeds))}. Protocol {protocol}.{declared}"


def task_title(name: str) -> str:
    """`CoT`, `All tasks`, `Mean of CoT, Recursive`."""
    if name == ALL:
        return "All tasks"
    if "+" in name:
        return f"Mean of {'; '.join(map(names.task, name.split('+')))}"
    return names.task(name)


def summary(judged: Judged) -> tuple[str, ...]:
    """A sentence a hypothesis, and how many intervals beside them would leave 0 out by chance."""
    lines = []
    for verdict in judged.verdicts:
        as_said = sum(c.outcome is Outcome.held for c in verdict.comparisons)
        count = len(verdict.comparisons)
        of = f"{as_said} of {count} comparison{'s' * (count > 1)} as it says"
        lines.append(f"{verdict.hypothesis.name} {verdict.outcome} ({of}): {verdict.hypothesis.claim}")
    return tuple(lines)


def notes(judged: Judged) -> Iterator[str]:
    """How to read the tables, what is missing, and what was left out."""
    measured = judged.measured
    yield (
        "A main effect is a level minus its baseline, averaged over all combinations of the other factors; an "
        "interaction (×) is how many points more the one is worth where the other is set. Each is taken within a seed, "
        "and over tasks too; only seeds count as repetitions."
    )
    yield from missing(measured)
    diverged = [
        f"{_cell_title(measured, cell)} on {names.task(task)} ({seeds_text(seeds)})"
        for (cell, task), seeds in measured.diverged.items()
        if seeds
    ]
    if diverged:
        yield (
            "Diverged, and left out with its seed of every contrast that it takes part in, which favours what "
            f"diverged: {', '.join(diverged)}."
        )
    if measured.others:
        yield f"Measured with seeds that are not declared, which count nowhere: {seeds_text(measured.others)}."


def missing(measured: Measured) -> Iterator[str]:
    """What has no record yet, task by task, and the command that makes it."""
    absent = measured.missing()
    if not absent:
        return
    total = len(measured.values) * len(measured.seeds)
    parts = []
    for task in measured.experiment.tasks:
        of_task = {cell: seeds for (cell, name), seeds in absent.items() if name == task}
        if of_task:
            parts.append(f"{names.task(task)}: {_cells(measured, of_task)}")
    count = sum(map(len, absent.values()))
    command = making(measured.declared.name if measured.declared else measured.profile, measured.experiment.name)
    yield f"Missing: {count} of {total} tests ({'; '.join(parts)}); `{command}` makes them."


def _cells(measured: Measured, absent: dict[str, tuple[int, ...]]) -> str:
    if len(absent) == len(measured.experiment.cells) and len(set(absent.values())) == 1:
        seeds = next(iter(absent.values()))
        return "all cells" if len(seeds) == len(measured.seeds) else f"all cells, {seeds_text(seeds)}"
    named = [
        _cell_title(measured, cell)
        if len(seeds) == len(measured.seeds)
        else f"{_cell_title(measured, cell)} ({seeds_text(seeds)})"
        for cell, seeds in absent.items()
    ]
    rest = f" and {len(named) - _LISTED} more cells" if len(named) > _LISTED else ""
    return f"{', '.join(named[:_LISTED])}{rest}"


def _cell_title(measured: Measured, name: str) -> str:
    return next(cell.title for cell in measured.experiment.cells if cell.name == name)


def multiplicity(judged: Judged) -> str:
    """What the effects beside the hypotheses are worth."""
    shown = sum(estimate.difference is not None and estimate.difference.low is not None for estimate in judged.effects)
    chance = (1 - judged.measured.experiment.rule.confidence) * shown
    return (
        f"Bold (starred in a terminal): the interval leaves 0 out. {shown} intervals, not adjusted: about {chance:.0f} "
        "would leave 0 out if nothing had any effect. Only the hypotheses decide."
    )
