"""Verdicts as terminal tables and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from conf import names
from eval.evidence.statistics import Difference, Interval, p_value
from eval.evidence.verdict.cells import CellVerdict
from eval.evidence.verdict.claims import Claim, ClaimOutcome
from eval.evidence.verdict.judge import Verdicts
from eval.evidence.verdict.paired import below
from eval.evidence.verdict.pairs import PairVerdict
from eval.evidence.verdict.words import about_pairs, caption, left_out, percent, plain, with_diverged

if TYPE_CHECKING:
    from rich.console import Console

MISSING = "—"
_Table = tuple[str, Sequence[str], list[list[str]]]


def terminal(verdicts: Verdicts, console: Console) -> None:
    """Print the tables, then the plain words, which the reader sees last and therefore first."""
    from rich import box
    from rich.table import Table

    for title, heads, rows in [*_tables(verdicts), _claims_table(verdicts)]:
        for protocol, group in groupby(rows, key=lambda row: row[0]):
            grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"{title}, protocol {protocol}")
            for head in heads[1:]:
                grid.add_column(head, justify="left" if head in _WORDS else "right")
            for row in group:
                grid.add_row(*row[1:])
            console.print(grid)
    for line in (caption(verdicts), *plain(verdicts), *left_out(verdicts)):
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def markdown(verdicts: Verdicts) -> str:
    """The whole document: caption, plain words, then cells (or why there are none), pairs, claims and their parts."""
    lines = [f"**Verdicts.** {caption(verdicts)}", "", *_bullets(plain(verdicts))]
    if out := left_out(verdicts):
        lines += _bullets(out)
    for title, heads, rows in [*_tables(verdicts), _claims_table(verdicts), _parts_table(verdicts)]:
        if rows:
            lines += ["", f"**{title}.**", "", *_grid(heads, rows)]
    return "\n".join([*lines, "", *_bullets(_legend(verdicts)), ""])


def section(verdicts: Verdicts) -> str:
    """What belongs under Table 1: the pairs of all protocols side by side, and in words what they say."""
    protocols = verdicts.collection.protocols
    heads = ["Task", "Pair", *(head for name in protocols for head in (f"{name} difference", f"{name} verdict"))]
    rows: dict[tuple[str, str], list[str]] = {}
    for pair in verdicts.pairs:
        plain_form = names.encoding(names.counterpart(pair.pe))
        start = [names.task(pair.task), f"{names.encoding(pair.pe)} - {plain_form}"]
        row = rows.setdefault((pair.task, pair.pe), start)
        row += [_difference(pair.difference, 2), with_diverged(pair.outcome, pair)]
    rules = verdicts.rules
    title = (
        f"**Pairs.** Resonance - counterpart in points of OOD accuracy, paired by seed, with {rules.confidence:.0%} "
        f"interval; the verdict is that of the paired t test at {rules.alpha:g} after Holm's adjustment for the pairs "
        "of a protocol. `posgen verdict` has the other tests and the paper's claims."
    )
    said = [*_cells_in_short(verdicts), *about_pairs(verdicts)]
    return "\n".join([title, "", *_grid(heads, list(rows.values())), "", *_bullets(said), ""])


def _tables(verdicts: Verdicts) -> Iterator[_Table]:
    rules = verdicts.rules
    sure = f"{rules.confidence:.0%}"
    yield (
        "Cells: measured - published, points of OOD accuracy",
        (
            "Protocol", "Task", "Encoding", "Verdict", f"Difference\n[{sure}]", "p", "p\nHolm", "p\nequivalent",
            "equivalent\nHolm", "Power\nif equal", f"Power\nat {rules.effect_points:g}", "n",
        ),
        [_cell_row(cell) for cell in verdicts.cells],
    )  # fmt: skip
    yield (
        "Pairs: Resonance - counterpart, points of OOD accuracy",
        (
            "Protocol", "Task", "Encoding", "Verdict", f"Difference\n[{sure}]", f"Bootstrap\n[{sure}]", "P(mean>0)",
            "P(seed>0)", "p", "p\nHolm", "p sign\nflip", "(min.)", f"Power\nat {rules.effect_points:g}", "n",
        ),
        [_pair_row(pair) for pair in verdicts.pairs],
    )  # fmt: skip


_SAYS = "What the paper says"
_WORDS = {"Protocol", "Task", "Encoding", "Verdict", "Pair", "Claim", "Claimed", _SAYS}


def _claims_table(verdicts: Verdicts) -> _Table:
    heads = ("Protocol", "Claim", _SAYS, "Verdict", "As claimed", "p holds", "p fails")
    return "Claims of the paper", heads, [_claim_row(claim) for claim in verdicts.claims]


def _parts_table(verdicts: Verdicts) -> _Table:
    heads = (
        "Protocol",
        "Claim",
        "Task",
        "Claimed",
        f"Difference [{verdicts.rules.confidence:.0%}]",
        "p",
        "p Holm",
        "n",
    )
    rows = [row for claim in verdicts.claims for row in _part_rows(claim, verdicts.rules.alpha)]
    return "What the claims are made of", heads, rows


def _cell_row(cell: CellVerdict) -> list[str]:
    return [
        cell.protocol, names.task(cell.task), names.encoding(cell.pe), with_diverged(cell.outcome, cell),
        _difference(cell.difference, 2), _p(p_value(cell.difference)), _p(cell.p_adjusted),
        _p(cell.p_equivalence), _p(cell.p_equivalence_adjusted), _share(cell.power_equal), _share(cell.power_effect),
        str(len(cell.seeds)),
    ]  # fmt: skip


def _pair_row(pair: PairVerdict) -> list[str]:
    return [
        pair.protocol, names.task(pair.task), names.encoding(pair.pe), with_diverged(pair.outcome, pair),
        _difference(pair.difference, 2), _interval(pair.bootstrap, 2), _share(pair.bootstrap_improvement),
        _share(pair.improvement), _p(p_value(pair.difference)), _p(pair.p_adjusted), _p(pair.sign_flip),
        _p(pair.smallest_sign_flip if pair.seeds else None), _share(pair.power), str(len(pair.seeds)),
    ]  # fmt: skip


def _claim_row(claim: Claim) -> list[str]:
    agreeing = sum(one.agrees for one in claim.comparisons)
    return [
        claim.protocol, claim.name, claim.text, str(claim.outcome), f"{agreeing} of {len(claim.comparisons)}",
        _p(claim.p_holds), _p(claim.p_fails),
    ]  # fmt: skip


def _part_rows(claim: Claim, alpha: float) -> Iterator[list[str]]:
    """A row a comparison; the epochs of a pair are counted in one."""
    for (task, better, worse), group in groupby(claim.comparisons, key=lambda one: (one.task, one.better, one.worse)):
        parts = list(group)
        start = [
            claim.protocol, claim.name, names.task(task), f"{names.encoding(better)} over {names.encoding(worse)}",
        ]  # fmt: skip
        seeds = sorted({len(one.seeds) for one in parts})
        if parts[0].epoch is None:
            one = parts[0]
            found = f"{_difference(one.difference, 3 if claim.unit == 'nats' else 2)} {claim.unit}"
            yield [*start, found, _p(p_value(one.difference)), _p(one.p_adjusted), str(seeds[0])]
        else:
            agreeing = sum(one.agrees for one in parts)
            sure = sum(one.agrees and below(p_value(one.difference), alpha) for one in parts)
            against = sum(not one.agrees and below(one.p_adjusted, alpha) for one in parts)
            counts = f"at {agreeing} of {len(parts)} epochs, sure at {sure}, sure against at {against}"
            yield [*start, counts, MISSING, MISSING, " to ".join(map(str, {seeds[0]: 0, seeds[-1]: 0}))]


def _cells_in_short(verdicts: Verdicts) -> Iterator[str]:
    for protocol, group in groupby(verdicts.cells, key=lambda cell: cell.protocol):
        cells = list(group)
        by_outcome = {
            outcome: ", ".join(f"{names.task(c.task)} {names.encoding(c.pe)}" for c in cells if c.outcome is outcome)
            for outcome in dict.fromkeys(cell.outcome for cell in cells)
        }
        listed = "; ".join(f"{outcome}: {which}" for outcome, which in by_outcome.items())
        yield f"Cells under {protocol}, against the published means: {listed}."


def _legend(verdicts: Verdicts) -> Iterator[str]:
    rules = verdicts.rules
    if verdicts.cells:
        yield (
            f"Cells: Welch's test against the published mean of {rules.published_seeds} seeds. Reproduced: equivalent "
            f"within {rules.margin_points:g} points (two one-sided tests) at {rules.alpha:g} after Holm's adjustment "
            "for all cells of a protocol. Contradicted: different at that level, and not equivalent. Power: the "
            "probability of reproduced if the true difference were 0, and of finding a difference if it were "
            f"{rules.effect_points:g} points; at least, since Holm's strictest step is assumed."
        )
    yield (
        f"Pairs: the paired t test at {rules.alpha:g} after Holm's adjustment for the pairs of a protocol. P(mean>0) "
        "is the share of bootstrap means above 0, P(seed>0) the share of seeds at which Resonance is ahead; ties count "
        "half. (min.) is the smallest p that sign flips of so few seeds can give."
    )
    yield (
        f"Claims: {ClaimOutcome.holds} when every part surely comes out as claimed (p holds, the largest of their p), "
        f"{ClaimOutcome.fails} when a part surely comes out the other way (p fails, the smallest of these after Holm's "
        f"adjustment for the parts), else undecided; at {rules.alpha:g} after Holm's adjustment for the claims of a "
        "protocol. Differences are signed so that above 0 agrees with the claim; minima are those of each seed's own "
        "curve."
    )
    seeds = sorted({seed for pair in verdicts.pairs for seed in pair.seeds})
    yield f"Seeds: {', '.join(map(str, seeds)) or 'none'}. All numbers: verdict.csv."


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    align = ["---" if head in _WORDS or head.endswith("verdict") else "---:" for head in heads]
    lines = [[head.replace("\n", " ") for head in heads], align, *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _difference(difference: Difference | None, decimals: int) -> str:
    if difference is None:
        return MISSING
    between = None
    if difference.low is not None and difference.high is not None:
        between = Interval(difference.low, difference.high)
    return f"{difference.mean:+.{decimals}f} {_interval(between, decimals)}"


def _interval(interval: Interval | None, decimals: int) -> str:
    return f"[{MISSING}]" if interval is None else f"[{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]"


def _p(p: float | None) -> str:
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _share(share: float | None) -> str:
    return MISSING if share is None else percent(share)
