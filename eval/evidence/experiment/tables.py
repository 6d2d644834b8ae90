"""An experiment as tables: verdicts, comparisons, effects and cells for readers, and every number for a CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from conf.hypotheses import Against
from eval.evidence.experiment import words
from eval.evidence.experiment.judge import Comparison, Judged, Verdict
from eval.evidence.experiment.measured import Estimate
from eval.evidence.latex import latex
from eval.evidence.statistics import p_value, summary
from eval.evidence.table import Cell, Column, Document, Table, Value, Words, cells
from eval.evidence.verdict.tables import difference_cell, number_column, p_cell, share_cell
from eval.evidence.verdict.words import with_diverged


def document(judged: Judged, said: str = "", screen: bool = False) -> Document:
    """The verdicts in words and tables, effects and cells. `said`: what git says of the declaration. On a `screen`,
    which is narrow, effects stand without their intervals, and the verdicts last, where they stay in sight."""
    experiment = judged.measured.experiment
    head = Words((words.heading(experiment), experiment.question.strip(), words.caption(judged.measured)))
    summary = Words(words.summary(judged), points=True)
    notes = Words((words.rule(experiment), *words.notes(judged), *filter(None, (said,))), points=True)
    hypotheses, comparisons = verdicts_table(judged), comparisons_table(judged)
    effects, by_cell = effects_table(judged, screen), cells_table(judged)
    if screen:
        return [by_cell, effects, comparisons, hypotheses, notes, head, summary]
    return [head, summary, hypotheses, comparisons, effects, by_cell, notes]


def verdicts_table(judged: Judged) -> Table:
    """A row a hypothesis: what it claims, what would have been what, and what it came to."""
    columns: dict[Column, Callable[[Verdict], Value | Cell]] = {
        Column("Hypothesis"): lambda verdict: verdict.hypothesis.name,
        Column("Verdict"): lambda verdict: Cell(str(verdict.outcome), strong=True),
        Column("Claim"): lambda verdict: verdict.hypothesis.claim,
        Column("Held when"): lambda verdict: verdict.hypothesis.criteria[0],
        Column("Refuted when"): lambda verdict: verdict.hypothesis.criteria[1],
    }
    rows = tuple(cells(*(cell(verdict) for cell in columns.values())) for verdict in judged.verdicts)
    return Table(tuple(columns), rows, f"Hypotheses of {judged.measured.experiment.name}")


def comparisons_table(judged: Judged) -> Table:
    """A row a comparison, a section a hypothesis."""
    rule = judged.measured.experiment.rule
    columns: dict[Column, Callable[[Comparison], Value | Cell]] = {
        Column("Contrast"): lambda c: c.estimate.contrast.title,
        Column("Task"): lambda c: words.task_title(c.estimate.task),
        Column("Outcome"): lambda c: with_diverged(c.outcome, c.estimate.diverged),
        number_column(f"Points\n[{rule.confidence:.0%}]"): lambda c: difference_cell(c.estimate.difference, 2),
        number_column("p\nHolm"): lambda c: p_cell(c.p_adjusted),
        number_column("p margin\nHolm"): lambda c: p_cell(c.p_margin_adjusted),
        number_column("Power"): lambda c: share_cell(c.power),
        number_column("n"): lambda c: len(c.estimate.seeds),
    }
    rows: list[tuple[Cell, ...]] = []
    sections = []
    for verdict in judged.verdicts:
        sections.append((len(rows), verdict.hypothesis.name))
        rows += [cells(*(cell(c) for cell in columns.values())) for c in verdict.comparisons]
    note = (
        f"Power: the chance that a true difference of {rule.effect_points:g} points is found, or with a margin that "
        "none at all is shown to lie within it, with the spread that was measured and at Holm's strictest step."
    )
    return Table(
        tuple(columns),
        tuple(rows),
        "Comparisons",
        "",
        (note,),
        tuple(sections),
        "Hypothesis",
    )


def effects_table(judged: Judged, screen: bool = False) -> Table:
    """A row an effect, a column a task, with intervals unless on a `screen`."""
    tasks = list(dict.fromkeys(estimate.task for estimate in judged.effects))
    columns = (Column("Effect"), *(Column(words.task_title(task), number=True) for task in tasks))
    rows = []
    for title, estimates in groupby(judged.effects, key=lambda estimate: estimate.contrast.title):
        rows.append(cells(title, *(_effect_cell(estimate, screen) for estimate in estimates)))
    confidence = f"{judged.measured.experiment.rule.confidence:.0%}"
    interval = "intervals: --format markdown" if screen else f"with {confidence} interval (Student's t)"
    caption = f"Change of OOD accuracy in points, mean over seeds, {interval}."
    return Table(columns, tuple(rows), "Effects", caption, (words.multiplicity(judged),))


def _effect_cell(estimate: Estimate, screen: bool) -> Cell:
    difference = estimate.difference
    if difference is None:
        return Cell()
    text = f"{round(difference.mean, 1) + 0.0:+.1f}" if screen else difference_cell(difference, 1).text
    return Cell(difference.mean, text, decided(estimate))


def decided(estimate: Estimate) -> bool:
    """Whether the interval leaves 0 out."""
    interval = estimate.difference.interval if estimate.difference else None
    return interval is not None and (interval.low > 0.0 or interval.high < 0.0)


def cells_table(judged: Judged) -> Table:
    """A row a cell, a column a task: mean ± standard deviation over seeds."""
    measured = judged.measured
    experiment = measured.experiment
    columns = (Column("Cell"), *(Column(words.task_title(task), number=True) for task in experiment.tasks))
    rows = []
    for cell in experiment.cells:
        row = []
        for task in experiment.tasks:
            values = [value.ood for value in measured.values[cell.name, task].values()]
            row.append(_mean_cell(values, len(measured.seeds)))
        rows.append(cells(cell.title, *row))
    chances = sorted({value.chance for of_cell in measured.values.values() for value in of_cell.values()})
    chance = f" Guessing gives {' or '.join(f'{value:.2f}' for value in chances)} %." if chances else ""
    caption = f"OOD accuracy in %, mean ± standard deviation over seeds.{chance}"
    return Table(columns, tuple(rows), "Cells", caption)


def _mean_cell(values: Sequence[float], wanted: int) -> Cell:
    if not values:
        return Cell()
    sample = summary(values)
    spread = f" ± {sample.std:.2f}" if sample.n > 1 else ""
    return Cell(sample.mean, f"{sample.mean:.2f}{spread}{f' (n={sample.n})' if sample.n < wanted else ''}")


def latex_text(judged: Judged) -> str:
    """Hypotheses, comparisons and effects as LaTeX tables, each with the profile in its caption."""
    name, profile = judged.measured.experiment.name, words.caption(judged.measured)
    made = (
        (verdicts_table(judged), "hypotheses"),
        (comparisons_table(judged), "comparisons"),
        (effects_table(judged), "effects"),
    )
    captioned = [(replace(table, caption=f"{table.caption} {profile}".strip()), what) for table, what in made]
    return "\n".join(latex(table, f"{name}-{what}") for table, what in captioned)


def numbers(judged: Judged) -> Table:
    """Rows of kind hypothesis, comparison, effect and cell, in one table: points, or percent of cells."""
    keys = (
        "kind", "experiment", "digest", "profile", "profile_label", "hypothesis", "contrast", "against", "task",
        "outcome", "mean", "low", "high", "std", "p", "p_holm", "p_margin", "p_margin_holm", "power", "n", "seeds",
        "values", "diverged_seeds", "missing_seeds",
    )  # fmt: skip
    experiment, measured = judged.measured.experiment, judged.measured
    common: dict[str, Value] = {
        "experiment": experiment.name, "digest": experiment.digest, "profile": measured.profile,
        "profile_label": measured.label,
    }  # fmt: skip
    rows = [cells(*map({**common, **line}.get, keys)) for line in _lines(judged)]
    return Table(tuple(map(Column, keys)), tuple(rows))


def _lines(judged: Judged) -> Iterator[dict[str, Value]]:
    for verdict in judged.verdicts:
        yield {"kind": "hypothesis", "hypothesis": verdict.hypothesis.name, "outcome": str(verdict.outcome)}
    for comparison in judged.comparisons:
        yield {
            "kind": "comparison", "hypothesis": comparison.hypothesis.name, "outcome": str(comparison.outcome),
            **_estimate(comparison.estimate), "p_holm": comparison.p_adjusted, "p_margin": comparison.p_margin,
            "p_margin_holm": comparison.p_margin_adjusted, "power": comparison.power,
        }  # fmt: skip
    for estimate in judged.effects:
        yield {"kind": "effect", **_estimate(estimate)}
    measured = judged.measured
    for (cell, task), of_cell in measured.values.items():
        values = {seed: of_cell[seed].ood for seed in sorted(of_cell)}
        sample = summary(list(values.values())) if values else None
        yield {
            "kind": "cell", "contrast": cell, "task": task, "mean": sample.mean if sample else None,
            "std": sample.std if sample else None, **_seeds(values, measured.diverged[cell, task]),
            "missing_seeds": _listed(measured.missing().get((cell, task), ())),
        }  # fmt: skip


def _estimate(estimate: Estimate) -> dict[str, Value]:
    difference = estimate.difference
    against = {None: "", Against.chance: "chance", Against.id_accuracy: "ID accuracy"}[estimate.contrast.against]
    return {
        "contrast": estimate.contrast.title, "against": against, "task": estimate.task,
        "mean": difference.mean if difference else None, "low": difference.low if difference else None,
        "high": difference.high if difference else None, "p": p_value(difference),
        "std": summary(estimate.values).std if estimate.values else None,
        **_seeds(dict(zip(estimate.seeds, estimate.values, strict=True)), estimate.diverged),
        "missing_seeds": _listed(estimate.missing),
    }  # fmt: skip


def _seeds(values: dict[int, float], diverged: Sequence[int]) -> dict[str, Value]:
    return {
        "n": len(values), "seeds": _listed(list(values)), "values": " ".join(f"{v:.6g}" for v in values.values()),
        "diverged_seeds": _listed(diverged),
    }  # fmt: skip


def _listed(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
