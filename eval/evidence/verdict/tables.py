"""Verdicts as tables: for readers, for what stands below Table 1, and every number for verdict.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Protocol, TypeVar

from conf import names
from eval.evidence.cells import differences_table
from eval.evidence.statistics import Difference, Interval, p_value
from eval.evidence.table import Cell, Column, Document, Table, Value, Words, cells
from eval.evidence.verdict import words
from eval.evidence.verdict.claims import Claim, ClaimOutcome, Comparison
from eval.evidence.verdict.judge import CellVerdict, PairVerdict, Verdicts
from eval.evidence.verdict.paired import significant


class _Judged(Protocol):
    @property
    def protocol(self) -> str: ...


Judged = TypeVar("Judged", bound=_Judged)
Row = tuple[Cell, ...]


def document(verdicts: Verdicts, screen: bool = False) -> Document:
    """The summary in words, the verdicts, the tests behind them, and what differs from the paper. On a screen the
    verdicts alone, and the words last, where they stay in sight."""
    caption = Words((words.caption(verdicts),))
    summary = Words(words.summary(verdicts), points=True)
    tables = [*([_cells(verdicts)] if verdicts.cells else []), _pairs(verdicts), _claims(verdicts)]
    if screen:
        return [*tables, caption, summary]
    differing = differences_table(verdicts.collection)
    behind = [_other_tests(verdicts), _comparisons(verdicts), *([differing] if differing else [])]
    seeds = sorted({seed for pair in verdicts.pairs for seed in pair.seeds})
    last = Words((f"Seeds: {', '.join(map(str, seeds)) or 'none'}. All numbers: verdict.csv.",))
    return [caption, summary, *tables, *behind, last]


def section(verdicts: Verdicts) -> Document:
    """What stands below Table 1: the pairs of all protocols side by side, and in words what they show."""
    rules, protocols = verdicts.rules, verdicts.collection.protocols
    columns = [Column("Task"), Column("Pair")]
    for protocol in protocols:
        columns += [Column("difference", number=True, group=protocol), Column("verdict", group=protocol)]
    rows: dict[tuple[str, str], list[Cell]] = {}
    for pair in verdicts.pairs:
        compared = f"{names.encoding(pair.pe)} - {names.encoding(names.counterpart(pair.pe))}"
        row = rows.setdefault((pair.task, pair.pe), list(cells(names.task(pair.task), compared)))
        row += [_difference(pair.difference, 2), _outcome(pair)]
    caption = (
        f"Resonance - counterpart in points of OOD accuracy, paired by seed, with {rules.confidence:.0%} interval. The "
        f"verdict is that of the paired t test at level {rules.alpha:g} after Holm's adjustment over the pairs of a "
        "protocol. `posgen verdict` has the other tests and the paper's claims."
    )
    notes = (*words.cells_by_outcome(verdicts), *words.about_pairs(verdicts))
    return [Table(tuple(columns), tuple(map(tuple, rows.values())), "Pairs", caption, notes)]


def _cells(verdicts: Verdicts) -> Table:
    rules = verdicts.rules

    def row(cell: CellVerdict) -> Row:
        return (
            *cells(names.task(cell.task), names.encoding(cell.pe), _outcome(cell), _difference(cell.difference, 2)),
            *map(_p, (p_value(cell.difference), cell.p_adjusted, cell.p_equivalence, cell.p_equivalence_adjusted)),
            *map(_share, (cell.power_equal, cell.power_effect)),
            Cell(len(cell.seeds)),
        )

    columns = (
        Column("Task"), Column("Encoding"), Column("Verdict"), _number(f"Difference\n[{rules.confidence:.0%}]"),
        _number("p"), _number("p\nHolm"), _number("p\nequivalent"), _number("equivalent\nHolm"),
        _number("Power\nif equal"), _number(f"Power\nat {rules.effect_points:g}"), _number("n"),
    )  # fmt: skip
    notes = (
        f"Reproduced: equivalent to the published mean of {rules.published_seeds} seeds within {rules.margin_points:g} "
        "points (two one-sided Welch tests). Contradicted: different from it (Welch's test) and not equivalent. Both "
        f"at level {rules.alpha:g} after Holm's adjustment over the cells of a protocol.",
        "Power: the probability of reproduced if the true difference were 0, and of finding a difference if it were "
        f"{rules.effect_points:g} points. Lower bounds: they assume Holm's strictest step.",
    )
    title = "Cells: measured - published, points of OOD accuracy"
    return _by_protocol(columns, verdicts.cells, lambda cell: [row(cell)], title, notes)


def _pairs(verdicts: Verdicts) -> Table:
    rules = verdicts.rules

    def row(pair: PairVerdict) -> Row:
        return (
            *cells(names.task(pair.task), names.encoding(pair.pe), _outcome(pair), _difference(pair.difference, 2)),
            *cells(_p(p_value(pair.difference)), _p(pair.p_adjusted), _share(pair.power), len(pair.seeds)),
        )

    columns = (
        Column("Task"), Column("Encoding"), Column("Verdict"), _number(f"Difference\n[{rules.confidence:.0%}]"),
        _number("p"), _number("p\nHolm"), _number(f"Power\nat {rules.effect_points:g}"), _number("n"),
    )  # fmt: skip
    note = (
        f"The verdict is that of the paired t test at level {rules.alpha:g} after Holm's adjustment over the pairs of "
        f"a protocol. Power: the probability of finding a true difference of {rules.effect_points:g} points, a lower "
        "bound that assumes Holm's strictest step."
    )
    title = "Pairs: Resonance - counterpart, points of OOD accuracy"
    return _by_protocol(columns, verdicts.pairs, lambda pair: [row(pair)], title, (note,))


def _other_tests(verdicts: Verdicts) -> Table:
    def row(pair: PairVerdict) -> Row:
        smallest = pair.smallest_sign_flip if pair.seeds else None
        return (
            *cells(names.task(pair.task), names.encoding(pair.pe), _interval(pair.bootstrap, 2)),
            *map(_share, (pair.bootstrap_improvement, pair.improvement)),
            *map(_p, (pair.sign_flip, smallest)),
        )

    columns = (
        Column("Task"), Column("Encoding"), _number(f"Bootstrap\n[{verdicts.rules.confidence:.0%}]"),
        _number("P(mean > 0)"), _number("P(seed > 0)"), _number("p\nsign flip"), _number("smallest\npossible"),
    )  # fmt: skip
    note = (
        "P(mean > 0): the share of bootstrap means above 0. P(seed > 0): the share of seeds at which Resonance is "
        "ahead. Ties count half. Smallest possible: the smallest p that sign flips of these seeds can give."
    )
    title = "Pairs: tests that decide nothing"
    return _by_protocol(columns, verdicts.pairs, lambda pair: [row(pair)], title, (note,))


def _claims(verdicts: Verdicts) -> Table:
    def row(claim: Claim) -> Row:
        agreeing = sum(comparison.agrees for comparison in claim.comparisons)
        counted = Cell(agreeing, f"{agreeing} of {len(claim.comparisons)}")
        return cells(claim.name, claim.text, str(claim.outcome), counted, _p(claim.p_holds), _p(claim.p_fails))

    columns = (
        Column("Claim"), Column("What the paper says"), Column("Verdict"), _number("As\nclaimed"),
        _number("p\nholds"), _number("p\nfails"),
    )  # fmt: skip
    note = (
        f"{ClaimOutcome.holds}: every comparison is significant in the claimed direction (p holds, the largest of "
        f"their p values). {ClaimOutcome.fails}: at least one is significant in the opposite direction (p fails, the "
        "smallest of these after Holm's adjustment over the comparisons of the claim). Both at level "
        f"{verdicts.rules.alpha:g} after Holm's adjustment over the claims of a protocol."
    )
    return _by_protocol(columns, verdicts.claims, lambda claim: [row(claim)], "Claims of the paper", (note,))


def _comparisons(verdicts: Verdicts) -> Table:
    columns = (
        Column("Claim"), Column("Task"), Column("Comparison"), _number(f"Difference\n[{verdicts.rules.confidence:.0%}]"),
        Column("Unit"), _number("p"), _number("p\nHolm"), _number("n"),
    )  # fmt: skip
    note = "Differences above 0 agree with the claim. A minimum is that of each seed's own curve."
    title = "Comparisons behind the claims"
    return _by_protocol(
        columns, verdicts.claims, lambda claim: _comparison_rows(claim, verdicts.rules.alpha), title, (note,)
    )


def _comparison_rows(claim: Claim, alpha: float) -> Iterator[Row]:
    """A row a comparison; the epochs of a pair are counted in one."""
    for (task, better, worse), group in groupby(claim.comparisons, key=lambda c: (c.task, c.better, c.worse)):
        several = list(group)
        place = cells(claim.name, names.task(task), f"{names.encoding(better)} over {names.encoding(worse)}")
        seeds = sorted({len(comparison.seeds) for comparison in several})
        n = Cell(seeds[0], " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))))
        first = several[0]
        if first.epoch is None:
            difference = _difference(first.difference, 3 if claim.unit == "nats" else 2)
            yield (*place, difference, Cell(claim.unit), _p(p_value(first.difference)), _p(first.p_adjusted), n)
        else:
            yield (*place, _epochs(several, alpha), Cell(claim.unit), Cell(), Cell(), n)


def _epochs(comparisons: list[Comparison], alpha: float) -> Cell:
    agreeing = sum(c.agrees for c in comparisons)
    for_it = sum(c.agrees and significant(p_value(c.difference), alpha) for c in comparisons)
    against = sum(not c.agrees and significant(c.p_adjusted, alpha) for c in comparisons)
    total = len(comparisons)
    return Cell(agreeing, f"{agreeing} of {total} epochs as claimed, {for_it} significant; {against} against")


def numbers(verdicts: Verdicts) -> Table:
    """Rows of kind cell, pair, claim and part (a comparison of a claim), one table for all. Differences: cell measured
    - published, pair Resonance - plain, part such that above 0 agrees with the claim. Units: points of OOD accuracy, or
    nats of validation loss."""
    keys = (
        "kind", "profile", "profile_label", "protocol", "name", "task", "pe", "against", "epoch", "unit", "verdict",
        "n", "seeds", "diverged_seeds", "difference", "low", "high", "p", "p_holm", "p_equivalence",
        "p_equivalence_holm", "bootstrap_low", "bootstrap_high", "bootstrap_improvement", "improvement", "p_sign_flip",
        "smallest_p_sign_flip", "power_equal", "power_effect", "p_holds", "p_fails",
    )  # fmt: skip
    common = {"profile": verdicts.collection.profile, "profile_label": verdicts.collection.label}
    lines: list[dict[str, Value]] = [{**common, **line} for line in _lines(verdicts)]
    assert all(set(line) <= set(keys) for line in lines)
    return Table(tuple(map(Column, keys)), tuple(cells(*map(line.get, keys)) for line in lines))


def _lines(verdicts: Verdicts) -> Iterator[dict[str, Value]]:
    for cell in verdicts.cells:
        yield {
            "kind": "cell", "protocol": cell.protocol, "task": cell.task, "pe": cell.pe, "against": "published",
            "unit": "points", "verdict": str(cell.outcome), **_seeds(cell), **_estimate(cell.difference),
            "p_holm": cell.p_adjusted, "p_equivalence": cell.p_equivalence,
            "p_equivalence_holm": cell.p_equivalence_adjusted, "power_equal": cell.power_equal,
            "power_effect": cell.power_effect,
        }  # fmt: skip
    for pair in verdicts.pairs:
        yield {
            "kind": "pair", "protocol": pair.protocol, "task": pair.task, "pe": pair.pe,
            "against": names.counterpart(pair.pe), "unit": "points", "verdict": str(pair.outcome), **_seeds(pair),
            **_estimate(pair.difference), "p_holm": pair.p_adjusted,
            "bootstrap_low": pair.bootstrap.low if pair.bootstrap else None,
            "bootstrap_high": pair.bootstrap.high if pair.bootstrap else None,
            "bootstrap_improvement": pair.bootstrap_improvement, "improvement": pair.improvement,
            "p_sign_flip": pair.sign_flip, "smallest_p_sign_flip": pair.smallest_sign_flip,
            "power_effect": pair.power,
        }  # fmt: skip
    for claim in verdicts.claims:
        claimed: dict[str, Value] = {"protocol": claim.protocol, "name": claim.name, "unit": claim.unit}
        yield {
            "kind": "claim", **claimed, "verdict": str(claim.outcome), "p_holds": claim.p_holds,
            "p_fails": claim.p_fails,
        }  # fmt: skip
        for part in claim.comparisons:
            yield {
                "kind": "part", **claimed, "task": part.task, "pe": part.better, "against": part.worse,
                "epoch": part.epoch, **_seeds(part), **_estimate(part.difference), "p_holm": part.p_adjusted,
            }  # fmt: skip


def _seeds(judged: CellVerdict | PairVerdict | Comparison) -> dict[str, Value]:
    seeds, diverged = (" ".join(map(str, several)) for several in (judged.seeds, judged.diverged))
    return {"n": len(judged.seeds), "seeds": seeds, "diverged_seeds": diverged}


def _estimate(difference: Difference | None) -> dict[str, Value]:
    if difference is None:
        return {}
    return {"difference": difference.mean, "low": difference.low, "high": difference.high, "p": difference.p}


def _by_protocol(
    columns: tuple[Column, ...],
    judged: Iterable[Judged],
    rows_of: Callable[[Judged], Iterable[Row]],
    title: str,
    notes: tuple[str, ...],
) -> Table:
    """A section a protocol."""
    rows: list[Row] = []
    sections = []
    for protocol, group in groupby(judged, key=lambda one: one.protocol):
        sections.append((len(rows), protocol))
        rows += [row for one in group for row in rows_of(one)]
    return Table(columns, tuple(rows), title, notes=notes, sections=tuple(sections), section="Protocol")


def _number(title: str) -> Column:
    return Column(title, number=True)


def _outcome(judged: CellVerdict | PairVerdict) -> Cell:
    return Cell(words.with_diverged(judged.outcome, judged.diverged))


def _difference(difference: Difference | None, decimals: int) -> Cell:
    if difference is None:
        return Cell()
    interval = _interval(difference.interval, decimals).text
    return Cell(difference.mean, " ".join(filter(None, (f"{difference.mean:+.{decimals}f}", interval))))


def _interval(interval: Interval | None, decimals: int) -> Cell:
    if interval is None:
        return Cell()
    return Cell(interval.low, f"[{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]")


def _p(p: float | None) -> Cell:
    return Cell(p, None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}")


def _share(share: float | None) -> Cell:
    return Cell(share, None if share is None else words.percent(share))
