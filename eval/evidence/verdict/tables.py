"""Verdicts as tables: for readers, for what stands below Table 1, and every number for verdict.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress, groupby
from typing import TypeVar

from conf import names
from eval.evidence.cells import differences_table
from eval.evidence.statistics import Difference, Interval, p_value
from eval.evidence.table import Cell, Column, Document, Table, Value, Words, cells
from eval.evidence.verdict import words
from eval.evidence.verdict.claims import Claim, Comparison
from eval.evidence.verdict.judge import CellVerdict, PairVerdict, Verdicts
from eval.evidence.verdict.paired import significant

_UNADJUSTED = ("p", "p\nequiv.")
Judged = TypeVar("Judged", CellVerdict, PairVerdict, Claim)


def document(verdicts: Verdicts, screen: bool = False) -> Document:
    """The summary in words, the verdicts, the tests behind them, and what differs from the paper. On a screen, which is
    narrow, the verdicts with their adjusted p values alone, and the words last, where they stay in sight."""
    caption = Words((words.caption(verdicts),))
    summary = Words(words.summary(verdicts), points=True)
    pairs, claims = bool(verdicts.pairs), bool(verdicts.claims)
    makers = ((_cells, bool(verdicts.cells)), (_pairs, pairs), (_claims, claims))
    tables = [make(verdicts) for make, judged in makers if judged]
    if screen:
        return [*map(_narrow, tables), caption, summary]
    differing = differences_table(verdicts.collection)
    behind = [make(verdicts) for make, judged in ((_other_tests, pairs), (_comparisons, claims)) if judged]
    behind += [differing] if differing else []
    seeds = sorted({seed for pair in verdicts.pairs for seed in pair.seeds})
    last = Words((f"Seeds: {', '.join(map(str, seeds)) or 'none'}. All numbers: verdict.csv.",))
    return [caption, summary, *tables, *behind, last]


def _narrow(table: Table) -> Table:
    kept = [column.title not in _UNADJUSTED for column in table.columns]
    rows = tuple(tuple(compress(row, kept)) for row in table.rows)
    return replace(table, columns=tuple(compress(table.columns, kept)), rows=rows)


def section(verdicts: Verdicts) -> Document:
    """What stands below Table 1: the pairs of all protocols side by side, and in words what they show."""
    columns = [Column("Task"), Column("Pair")]
    for protocol in verdicts.collection.protocols:
        columns += [Column("difference", number=True, group=protocol), Column("verdict", group=protocol)]
    rows: dict[tuple[str, str], list[Cell]] = {}
    for pair in verdicts.pairs:
        compared = f"{names.encoding(pair.pe)} - {names.encoding(names.counterpart(pair.pe))}"
        row = rows.setdefault((pair.task, pair.pe), list(cells(names.task(pair.task), compared)))
        row += [difference_cell(pair.difference, 2), outcome_cell(pair)]
    notes = (*words.cells_by_outcome(verdicts), *words.about_pairs(verdicts))
    return [Table(tuple(columns), tuple(map(tuple, rows.values())), "Pairs", words.below_table1(verdicts.rules), notes)]


def _cells(verdicts: Verdicts) -> Table:
    rules = verdicts.rules
    columns: dict[Column, Callable[[CellVerdict], Value | Cell]] = {
        Column("Task"): lambda cell: names.task(cell.task),
        Column("Encoding"): lambda cell: names.encoding(cell.pe),
        Column("Verdict"): outcome_cell,
        number_column(f"Difference\n[{rules.confidence:.0%}]"): lambda cell: difference_cell(cell.difference, 2),
        number_column("p"): lambda cell: p_cell(p_value(cell.difference)),
        number_column("p\nHolm"): lambda cell: p_cell(cell.p_adjusted),
        number_column("p\nequiv."): lambda cell: p_cell(cell.p_equivalence),
        number_column("p equiv.\nHolm"): lambda cell: p_cell(cell.p_equivalence_adjusted),
        number_column("Power\nif equal"): lambda cell: share_cell(cell.power_equal),
        number_column(f"Power\nat {rules.effect_points:g}"): lambda cell: share_cell(cell.power_effect),
        number_column("n"): lambda cell: len(cell.seeds),
    }
    title = "Cells: measured - published, points of OOD accuracy"
    return table_by_protocol(title, verdicts.cells, columns, *words.how_cells_are_judged(rules))


def _pairs(verdicts: Verdicts) -> Table:
    rules = verdicts.rules
    columns: dict[Column, Callable[[PairVerdict], Value | Cell]] = {
        Column("Task"): lambda pair: names.task(pair.task),
        Column("Encoding"): lambda pair: names.encoding(pair.pe),
        Column("Verdict"): outcome_cell,
        number_column(f"Difference\n[{rules.confidence:.0%}]"): lambda pair: difference_cell(pair.difference, 2),
        number_column("p"): lambda pair: p_cell(p_value(pair.difference)),
        number_column("p\nHolm"): lambda pair: p_cell(pair.p_adjusted),
        number_column(f"Power\nat {rules.effect_points:g}"): lambda pair: share_cell(pair.power),
        number_column("n"): lambda pair: len(pair.seeds),
    }
    title = "Pairs: Resonance - counterpart, points of OOD accuracy"
    return table_by_protocol(title, verdicts.pairs, columns, words.how_pairs_are_judged(rules))


def _other_tests(verdicts: Verdicts) -> Table:
    columns: dict[Column, Callable[[PairVerdict], Value | Cell]] = {
        Column("Task"): lambda pair: names.task(pair.task),
        Column("Encoding"): lambda pair: names.encoding(pair.pe),
        number_column(f"Bootstrap\n[{verdicts.rules.confidence:.0%}]"): lambda pair: _interval(pair.bootstrap, 2),
        number_column("P(mean > 0)"): lambda pair: share_cell(pair.bootstrap_improvement),
        number_column("P(seed > 0)"): lambda pair: share_cell(pair.improvement),
        number_column("p\nsign flip"): lambda pair: p_cell(pair.sign_flip),
        number_column("smallest\npossible"): lambda pair: p_cell(pair.smallest_sign_flip if pair.seeds else None),
    }
    return table_by_protocol("Pairs: supplementary statistics", verdicts.pairs, columns, words.OTHER_TESTS)


def _claims(verdicts: Verdicts) -> Table:
    columns: dict[Column, Callable[[Claim], Value | Cell]] = {
        Column("Claim"): lambda claim: claim.name,
        Column("What the paper says"): lambda claim: claim.text,
        Column("Verdict"): lambda claim: str(claim.outcome),
        number_column("As\nclaimed"): lambda claim: (
            f"{sum(c.agrees for c in claim.comparisons)} of {len(claim.comparisons)}"
        ),
        number_column("p\nholds"): lambda claim: p_cell(claim.p_holds),
        number_column("p\nfails"): lambda claim: p_cell(claim.p_fails),
    }
    return table_by_protocol(
        "Claims of the paper", verdicts.claims, columns, words.how_claims_are_judged(verdicts.rules)
    )


def _comparisons(verdicts: Verdicts) -> Table:
    """A row a comparison; the epochs of a pair are counted in one."""
    columns = (
        Column("Claim"), Column("Task"), Column("Comparison"),
        number_column(f"Difference\n[{verdicts.rules.confidence:.0%}]"), Column("Unit"), number_column("p"),
        number_column("p\nHolm"), number_column("n"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    sections = []
    for protocol, claims in groupby(verdicts.claims, key=lambda claim: claim.protocol):
        sections.append((len(rows), protocol))
        for claim in claims:
            for _, epochs in groupby(claim.comparisons, key=lambda c: (c.task, c.better, c.worse)):
                rows.append(_compared(claim, list(epochs), verdicts.rules.alpha))
    title = "Comparisons behind the claims"
    return Table(columns, tuple(rows), title, "", (words.COMPARISONS,), tuple(sections), "Protocol")


def _compared(claim: Claim, epochs: list[Comparison], alpha: float) -> tuple[Cell, ...]:
    first = epochs[0]
    place = (claim.name, names.task(first.task), f"{names.encoding(first.better)} over {names.encoding(first.worse)}")
    counts = sorted({len(comparison.seeds) for comparison in epochs})
    n = Cell(counts[0], " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))))
    if first.epoch is None:
        difference = difference_cell(first.difference, 3 if claim.unit == "nats" else 2)
        return cells(*place, difference, claim.unit, p_cell(p_value(first.difference)), p_cell(first.p_adjusted), n)
    agreeing = [c for c in epochs if c.agrees]
    in_favour = sum(significant(p_value(c.difference), alpha) for c in agreeing)
    against = sum(significant(c.p_adjusted, alpha) for c in epochs if not c.agrees)
    text = f"{len(agreeing)} of {len(epochs)} epochs as claimed; significant: {in_favour} for, {against} against"
    return cells(*place, Cell(len(agreeing), text), claim.unit, None, None, n)


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
    rows = [cells(*map({**common, **line}.get, keys)) for line in _lines(verdicts)]
    return Table(tuple(map(Column, keys)), tuple(rows))


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


def table_by_protocol(
    title: str,
    judged: Iterable[Judged],
    columns: Mapping[Column, Callable[[Judged], Value | Cell]],
    *notes: str,
) -> Table:
    """A row for everything judged, a section a protocol."""
    rows: list[tuple[Cell, ...]] = []
    sections = []
    for protocol, group in groupby(judged, key=lambda item: item.protocol):
        sections.append((len(rows), protocol))
        rows += [cells(*(cell(item) for cell in columns.values())) for item in group]
    return Table(tuple(columns), tuple(rows), title, notes=notes, sections=tuple(sections), section="Protocol")


def number_column(title: str) -> Column:
    return Column(title, number=True)


def outcome_cell(judged: CellVerdict | PairVerdict) -> Cell:
    return Cell(words.with_diverged(judged.outcome, judged.diverged))


def difference_cell(difference: Difference | None, decimals: int) -> Cell:
    if difference is None:
        return Cell()
    interval = _interval(difference.interval, decimals).text
    return Cell(difference.mean, " ".join(filter(None, (f"{difference.mean:+.{decimals}f}", interval))))


def _interval(interval: Interval | None, decimals: int) -> Cell:
    if interval is None:
        return Cell()
    return Cell(interval.low, f"[{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]")


def p_cell(p: float | None) -> Cell:
    return Cell(p, None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}")


def share_cell(share: float | None) -> Cell:
    return Cell(share, None if share is None else words.percent(share))
