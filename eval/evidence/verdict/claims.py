"""The paper's claims about its Figure 3 and its Table 1, each a named check on the runs of one protocol.

A claim is a list of comparisons, seed by seed, that must all come out as claimed. It `holds` when every one surely does
(its p is the largest among them: an intersection-union test, Berger 1982), `fails` when one surely comes out the other
way (its p is the smallest among those after Holm's adjustment for the list), and is `undecided` otherwise. Both p are
adjusted once more for the number of claims, and judged at level alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from conf import names
from conf.published import Published
from conf.rules import VerdictRules
from eval.evidence.cells import Collection
from eval.evidence.figures.figure3 import CLAIMS
from eval.evidence.statistics import Difference, holm, p_value, paired_t
from eval.evidence.verdict.paired import Place, below, ood_points, paired
from eval.evidence.verdict.pairs import resonance_places
from eval.store.kinds import AccuracyRecord


class ClaimOutcome(StrEnum):
    """What the runs say about a claim."""

    holds = "holds"
    fails = "fails"
    undecided = "undecided"


@dataclass(frozen=True)
class Comparison:
    """`better` against `worse` on a task, as the claim has it; of losses at one epoch when `epoch` is given.

    `difference` is signed so that above 0 agrees with the claim; None when no seed has both.
    """

    task: str
    better: str
    worse: str
    epoch: int | None
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    difference: Difference | None
    p_adjusted: float | None = None

    @property
    def agrees(self) -> bool:
        """Whether the mean over seeds is on the claimed side, sure or not."""
        return self.difference is not None and self.difference.mean > 0


@dataclass(frozen=True)
class Claim:
    """A claim with its comparisons. `unit`: nats of validation loss or points of OOD accuracy.

    `p_holds` and `p_fails` are adjusted for the number of claims; None where no comparison, or not every one, goes
    that way.
    """

    protocol: str
    name: str
    text: str
    unit: str
    comparisons: tuple[Comparison, ...]
    p_holds: float | None = None
    p_fails: float | None = None
    outcome: ClaimOutcome = ClaimOutcome.undecided


def claims(
    collection: Collection, protocol: str, published: Mapping[Place, Published], rules: VerdictRules
) -> list[Claim]:
    """The five claims: three of Figure 3, two of the text about Table 1."""
    pairs = [(task, pe, names.counterpart(pe)) for task, pe in resonance_places(published)]
    ahead = [p for p in pairs if published[p[0], p[1]].ood_percent > published[p[0], p[2]].ood_percent]
    exceptions = ", ".join(f"{names.encoding(p[2])} on {names.task(p[0])}" for p in pairs if p not in ahead)
    top, beaten = _best_everywhere(published)

    def lowest(compared: list[tuple[str, str, str]]) -> list[Comparison]:
        return [_compare(collection, protocol, *places, _minimum, rules, sign=-1) for places in compared]

    def higher(compared: list[tuple[str, str, str]]) -> list[Comparison]:
        return [_compare(collection, protocol, *places, ood_points, rules) for places in compared]

    made = [
        _claim(protocol, "figure3_a", CLAIMS["a"], "nats", lowest(pairs)),
        _claim(protocol, "figure3_b", CLAIMS["b"], "nats", lowest([("semi_recursive", "resonance_rope", "yarn")])),
        _claim(protocol, "figure3_c", CLAIMS["c"], "nats", _throughout(collection, protocol, pairs, rules)),
        _claim(
            protocol, "table1_pairs",
            f"Resonance has a higher OOD accuracy than its counterpart (published for all but {exceptions})",
            "points", higher(ahead),
        ),
        _claim(
            protocol, "table1_best", f"{names.encoding(top)} has the highest OOD accuracy on every task", "points",
            higher(beaten),
        ),
    ]  # fmt: skip
    holds, fails = holm([claim.p_holds for claim in made]), holm([claim.p_fails for claim in made])
    return [_judged(*found, rules.alpha) for found in zip(made, holds, fails, strict=True)]


def _best_everywhere(published: Mapping[Place, Published]) -> tuple[str, list[tuple[str, str, str]]]:
    """The published encoding that is best on the most tasks, and its comparison with every other on each."""
    tasks = list(dict.fromkeys(task for task, _ in published))
    winners = [
        max((pe for t, pe in published if t == task), key=lambda pe, task=task: published[task, pe].ood_percent)  # type: ignore[misc]
        for task in tasks
    ]
    top = max(dict.fromkeys(winners), key=winners.count)
    return top, [(task, top, pe) for task, pe in published if pe != top]


def _minimum(record: AccuracyRecord) -> float | None:
    """The lowest validation loss of a curve."""
    return min(_losses(record).values(), default=None)


def _losses(record: AccuracyRecord) -> dict[int, float]:
    return {row.epoch: row.validation_loss for row in record.history if row.validation_loss is not None}


def _throughout(
    collection: Collection, protocol: str, pairs: list[tuple[str, str, str]], rules: VerdictRules
) -> list[Comparison]:
    """Each pair at each epoch that every curve of it has; a pair without such an epoch is one comparison unmade."""
    found = []
    for task, better, worse in pairs:
        curves = [
            set(_losses(record)) for pe in (better, worse) for record in collection.cell(protocol, task, pe).finished
        ]
        for epoch in sorted(set.intersection(*curves)) if curves else []:
            at_epoch = _compare(
                collection, protocol, task, better, worse, lambda r, e=epoch: _losses(r).get(e), rules, -1, epoch  # type: ignore[misc]
            )  # fmt: skip
            found.append(at_epoch)
        if not found or (found[-1].task, found[-1].better) != (task, better):
            found.append(Comparison(task, better, worse, None, (), (), None))
    return found


def _compare(
    collection: Collection,
    protocol: str,
    task: str,
    better: str,
    worse: str,
    value: Callable[[AccuracyRecord], float | None],
    rules: VerdictRules,
    sign: int = 1,
    epoch: int | None = None,
) -> Comparison:
    """`sign` -1 where lower is better."""
    one = paired(collection, protocol, (task, better), (task, worse), value)
    difference = paired_t([sign * number for number in one.differences], rules.confidence)
    return Comparison(task, better, worse, epoch, one.seeds, one.diverged, difference)


def _claim(protocol: str, name: str, text: str, unit: str, compared: list[Comparison]) -> Claim:
    """The claim with p values that are not yet adjusted for the number of claims."""
    adjusted = holm([p_value(one.difference) for one in compared])
    parts = tuple(replace(one, p_adjusted=p) for one, p in zip(compared, adjusted, strict=True))
    agreeing = [one.difference.p for one in parts if one.difference and one.agrees and one.difference.p is not None]
    against = [one.p_adjusted for one in parts if not one.agrees and one.p_adjusted is not None]
    return Claim(
        protocol, name, text, unit, parts,
        p_holds=max(agreeing) if parts and len(agreeing) == len(parts) else None,
        p_fails=min(against, default=None),
    )  # fmt: skip


def _judged(claim: Claim, holds: float | None, fails: float | None, alpha: float) -> Claim:
    outcome = ClaimOutcome.undecided
    if below(fails, alpha):
        outcome = ClaimOutcome.fails
    elif below(holds, alpha):
        outcome = ClaimOutcome.holds
    return replace(claim, p_holds=holds, p_fails=fails, outcome=outcome)
