"""A declaration as tables, before anything is measured: factors, cells, hypotheses and what so many seeds can find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf import names
from conf.experiments import Experiment
from conf.factors import written
from conf.hypotheses import Hypothesis, Over
from eval.evidence.experiment import words
from eval.evidence.experiment.contrasts import of_hypothesis
from eval.evidence.experiment.judge import places
from eval.evidence.experiment.power import LIKELY, comparisons_of, power
from eval.evidence.table import Cell, Column, Document, Table, Words, cells
from eval.evidence.verdict.tables import number_column, share_cell


def document(experiment: Experiment) -> Document:
    """Everything that is declared."""
    about = (
        f"Tasks: {'; '.join(map(names.task, experiment.tasks))}.",
        f"Protocol {names.protocol(experiment.protocol)}.",
        *(
            f"Profile {profile.recorded}: {len(profile.seeds)} seeds, {', '.join(map(str, profile.seeds))}."
            for profile in experiment.profiles
        ),
        words.rule(experiment),
    )
    return [
        Words((words.heading(experiment), experiment.question.strip())),
        _factors(experiment),
        _cells(experiment),
        _hypotheses(experiment),
        _power(experiment),
        Words(about, points=True),
    ]


def _factors(experiment: Experiment) -> Table:
    rows = [
        cells(factor.shown, level.name, "baseline" if level == factor.baseline else "", _settings(level.settings))
        for factor in experiment.factors
        for level in factor.levels
    ]
    columns = tuple(map(Column, ("Factor", "Level", "", "Settings")))
    return Table(columns, tuple(rows), "Factors", f"All levels are crossed; cells start from {experiment.encoding}.")


def _settings(settings: Mapping[str, Any]) -> str:
    """`scaling=p_rope p=0.28125`."""
    flat = {key: value for key, value in settings.items() if key != "params"} | dict(settings.get("params", {}))
    return " ".join(f"{key}={written(value)}" for key, value in flat.items()) or "as it is"


def _cells(experiment: Experiment) -> Table:
    rows = [cells(cell.name, cell.title, *cell.levels.values()) for cell in experiment.cells]
    columns = (Column("Cell"), Column("Called"), *(Column(factor.shown) for factor in experiment.factors))
    return Table(columns, tuple(rows), f"The {len(rows)} cells")


def _hypotheses(experiment: Experiment) -> Table:
    rows = [
        cells(
            h.name, h.claim, _compared(experiment, h), "; ".join(_on(experiment, h)),
            *h.criteria, comparisons_of(experiment, h),
        )
        for h in experiment.hypotheses
    ]  # fmt: skip
    heads = ("Hypothesis", "Claim", "Contrast", "On", "Held when", "Refuted when")
    columns = (*map(Column, heads), Column("Comparisons", number=True))
    return Table(columns, tuple(rows), "Hypotheses", "Everything else is undecided.")


def _compared(experiment: Experiment, hypothesis: Hypothesis) -> str:
    contrasts = of_hypothesis(experiment, hypothesis)
    if hypothesis.cells is Over.each and len(contrasts) > 1:
        against = contrasts[0].title.rpartition(" - ")[2]
        return f"each of {len(contrasts)} cells - {against}"
    return contrasts[0].title


def _on(experiment: Experiment, hypothesis: Hypothesis) -> list[str]:
    return [words.task_title(name) for name, _ in places(experiment.tasks, hypothesis)]


def _power(experiment: Experiment) -> Table:
    """What the declared seeds can find, a section a profile."""
    rows: list[tuple[Cell, ...]] = []
    sections = []
    for profile in experiment.profiles:
        sections.append((len(rows), profile.recorded))
        for found in power(experiment, profile):
            smallest = Cell(found.smallest, None if found.smallest is None else f"{found.smallest:.1f}")
            true = "0" if found.hypothesis.margin is not None and found.smallest is None else None
            rows.append(cells(
                found.hypothesis.name, found.seeds, found.std_points, share_cell(found.power),
                true or f"{experiment.rule.effect_points:g}", smallest,
            ))  # fmt: skip
    columns = (
        Column("Hypothesis"), number_column("Seeds"), number_column("Assumed\nstd"), number_column("Power"),
        number_column("if the true\ndifference is"), number_column(f"Smallest found\nwith {LIKELY:.0%}"),
    )  # fmt: skip
    family = sum(comparisons_of(experiment, hypothesis) for hypothesis in experiment.hypotheses)
    caption = (
        f"Points of OOD accuracy, for one comparison at Holm's strictest step (level {experiment.rule.alpha:g} / "
        f"{family}), with the spread over seeds that the declaration assumes."
    )
    return Table(columns, tuple(rows), "What the seeds can find", caption, sections=tuple(sections), section="Profile")
