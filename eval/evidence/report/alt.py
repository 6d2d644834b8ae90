"""Alternative texts of figures, from the numbers that they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from conf import names
from eval.evidence.figures.bands import Series
from models.lm.names import title

if TYPE_CHECKING:
    from eval.evidence.figures.feature_gap import Features
    from eval.evidence.figures.gap import Gap
    from eval.evidence.interventions.shares import Measured
    from eval.evidence.league.standings import League
    from eval.evidence.lengths.effective import Lengths
    from eval.evidence.llm.curves import Curves


def lines(what: str, series: Sequence[Series], value: Callable[[Series], float], where: str, scale: float = 1.0) -> str:
    """Line charts with a panel a task: `what` they show, then the encodings of each panel, ordered by `value` times
    `scale`, highest first. `where` says what that value is."""
    sentences = []
    for task in dict.fromkeys(line.task for line in series):
        ranked = [(scale * value(line), names.encoding(line.pe)) for line in series if line.task == task and line.at]
        sentences.append(f"{names.task(task)}: {order(ranked) or 'no line'}")
    return f"{what} Highest to lowest {where}: {'; '.join(sentences)}."


def order(ranked: Iterable[tuple[float, str]]) -> str:
    """`YaRN 76.1, RoPE 27.5`: highest first, equal ones by name, what is not a number left out."""
    known = [(value, name) for value, name in ranked if not math.isnan(value)]
    return ", ".join(f"{name} {value:.3g}" for value, name in sorted(known, key=lambda pair: (-pair[0], pair[1])))


def last(line: Series) -> float:
    """The mean at the end of the line."""
    return line.mean[-1]


def percent_from(starts: Mapping[str, int]) -> Callable[[Series], float]:
    """The mean, in percent, over the points from its task's start on."""

    def over(line: Series) -> float:
        values = [value for at, value in zip(line.at, line.mean, strict=True) if at >= starts[line.task]]
        return 100 * math.fsum(values) / len(values) if values else math.nan

    return over


def gaps(encodings: Sequence[Gap]) -> str:
    """Feature gap above, accuracy below, by position."""
    before, after = (
        order((round(max(part), 4), names.encoding(gap.pe)) for gap in encodings if (part := getattr(gap, side)))
        for side in ("before", "after")
    )
    return (
        "Line charts over the positions beyond the training length, a column an encoding: feature gap above, accuracy "
        f"below. Largest gap among pre-critical features: {before or 'none'}; among the others: {after or 'none'}."
    )


def wavelengths(encodings: Mapping[str, Features]) -> str:
    """Wavelength and largest gap by feature."""
    described = []
    for pe, features in encodings.items():
        critical = "all" if features.critical is None else str(features.critical)
        described.append(
            f"{names.encoding(pe)} from {features.wavelengths[0]:,.1f} to {features.wavelengths[-1]:,.1f} tokens, "
            f"{critical} features pre-critical"
        )
    return (
        "Three line charts against the feature, a line an encoding: wavelength on a logarithmic axis with the training "
        "and the test length marked, its distance to a whole number, and feature gap. "
        f"{'; '.join(described)}."
    )


def league(standings: League, protocol: str) -> str:
    """OOD accuracy of every encoding, a panel a task."""
    ranked = [(entry.mean, names.encoding(entry.pe)) for entry in standings.entries[protocol] if entry.mean is not None]
    tasks = ", ".join(map(names.task, standings.tasks))
    return (
        f"Dot plot, an encoding a line, a panel each for {tasks}: OOD accuracy in %, means and seeds. Highest to "
        f"lowest mean of the tasks: {order(ranked) or 'none has all tasks'}."
    )


def lengths(measured: Lengths, protocol: str) -> str:
    """Accuracy against length on a logarithmic axis."""
    rows = [row for row in measured.rows if row.protocol == protocol and row.form == "own"]
    sentences = []
    for task in dict.fromkeys(row.task for row in rows):
        reached = {row.pe: [reach.length or 0 for reach in row.reaches] for row in rows if row.task == task}
        ranked = [(math.fsum(ends) / len(ends), names.encoding(pe)) for pe, ends in reached.items() if ends]
        sentences.append(f"{names.task(task)}: {order(ranked) or 'none'}")
    return (
        "Line charts of accuracy against length on a logarithmic axis, a column a task, a row a way of scaling, the "
        f"threshold of {100 * measured.threshold:g} % marked. Longest to shortest mean effective length as in Table 1, "
        f"in tokens, 0 where it is below the first window: {'; '.join(sentences)}."
    )


def interventions(measured: Measured, protocol: str) -> str:
    """What moves when a token is exchanged, by position of the answer."""
    by_task: dict[str, list[tuple[float, str]]] = {}
    for row in measured.rows:
        moved = row.shares["ood", "right"].moved
        if row.protocol == protocol and moved is not None:
            by_task.setdefault(row.task, []).append((100 * moved, names.encoding(row.pe)))
    sentences = [f"{names.task(task)}: {order(ranked)}" for task, ranked in by_task.items()]
    return (
        "Line charts of the share of right answers that move when a token is exchanged, against the position of the "
        "answer on a logarithmic axis, a panel a task, a line an encoding; the training length is marked. Highest to "
        f"lowest beyond the training length, in %: {'; '.join(sentences) or 'no answers'}."
    )


def perplexities(curves: Curves) -> str:
    """Figure 4 of one group of records."""
    longest = curves.lengths[-1]
    at_end = order((p.perplexity, title(p.encoding)) for p in curves.points if p.length == longest)
    changes = order((p.difference.mean, title(p.encoding)) for p in curves.pairs if p.length == longest)
    return (
        "Three line charts: perplexity against length, loss against position, and the difference that Resonance makes. "
        f"Perplexity of {longest:,} tokens, highest to lowest: {at_end}. Difference there, in nats a token: "
        f"{changes or 'no pair measured'}."
    )
