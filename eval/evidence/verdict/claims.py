"""The paper's claims about its Figure 3 and its Table 1, each a named check on the runs of one protocol.

A claim is a list of comparisons, seed by seed, that must all come out as claimed. It `holds` when every one is
significant in the claimed direction (its p is the largest among them: an intersection-union test, Berger 1982), `fails`
when one is significant in the opposite direction (its p is the smallest among those after Holm's adjustment for the
list), and is `undecided` otherwise. Both p are adjusted once more for the number of claims, and judged at level alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from conf import names
from conf.published import Published
from conf.rules import VerdictRules
from eval.evidence.cells import Collection
from eval.evidence.figures.figure3 import CLAIMS
from eval.evidence.statistics import Difference, holm, p_value, paired_t
from eval.evidence.verdict.paired import Place, ood_points, paired, resonance_places, significant
from eval.store.kinds import AccuracyRecord

Versus = tuple[str, str, str]
"""(task, better, worse), as a claim has it"""


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
        """Whether the mean over seeds is on the claimed side, significant or not."""
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


@dataclass(frozen=True)
class _Runs:
    """The runs of one protocol, which compare encodings with each other."""

    collection: Collection
    protocol: str
    confidence: float

    def compare(
        self, versus: Versus, value: Callable[[AccuracyRecord], float | None], epoch: int | None = None
    ) -> Comparison:
        """Two encodings on a task by a value of which more is better."""
        task, better, worse = versus
        by_seed = paired(self.collection, self.protocol, (task, better), (task, worse), value)
        difference = paired_t(by_seed.differences, self.confidence)
        return Comparison(task, better, worse, epoch, by_seed.seeds, by_seed.diverged, difference)

    def lower_minimum(self, pairs: Iterable[Versus]) -> list[Comparison]:
        """Of the lowest validation losses."""
        return [self.compare(versus, _negative_minimum) for versus in pairs]

    def higher_accuracy(self, pairs: Iterable[Versus]) -> list[Comparison]:
        """Of OOD accuracies."""
        return [self.compare(versus, ood_points) for versus in pairs]

    def lower_throughout(self, pairs: Iterable[Versus]) -> list[Comparison]:
        """Of losses at each epoch that every curve of a pair has; a pair without such an epoch counts as untested."""
        comparisons = []
        for task, better, worse in pairs:
            cells = [self.collection.cell(self.protocol, task, pe) for pe in (better, worse)]
            curves = [set(_losses(record)) for cell in cells for record in cell.finished]
            epochs = sorted(set.intersection(*curves)) if curves else []
            comparisons += [
                self.compare((task, better, worse), partial(_negative_loss, epoch=epoch), epoch) for epoch in epochs
            ]
            if not epochs:
                comparisons.append(Comparison(task, better, worse, None, (), (), None))
        return comparisons


def claims(
    collection: Collection, protocol: str, published: Mapping[Place, Published], rules: VerdictRules
) -> list[Claim]:
    """The five claims: three of Figure 3, two of the text about Table 1."""
    pairs = [(task, pe, names.counterpart(pe)) for task, pe in resonance_places(published)]
    ahead = [p for p in pairs if published[p[0], p[1]].ood_percent > published[p[0], p[2]].ood_percent]
    exceptions = ", ".join(f"{names.encoding(p[2])} on {names.task(p[0])}" for p in pairs if p not in ahead)
    top, comparisons_of_top = _best_everywhere(published)
    runs = _Runs(collection, protocol, rules.confidence)
    tested = [
        _claim(protocol, "figure3_a", CLAIMS["a"], "nats", runs.lower_minimum(pairs)),
        _claim(
            protocol, "figure3_b", CLAIMS["b"], "nats",
            runs.lower_minimum([("semi_recursive", "resonance_rope", "yarn")]),
        ),
        _claim(protocol, "figure3_c", CLAIMS["c"], "nats", runs.lower_throughout(pairs)),
        _claim(
            protocol, "table1_pairs",
            f"Resonance has a higher OOD accuracy than its counterpart (published for all but {exceptions})",
            "points", runs.higher_accuracy(ahead),
        ),
        _claim(
            protocol, "table1_best", f"{names.encoding(top)} has the highest OOD accuracy on every task", "points",
            runs.higher_accuracy(comparisons_of_top),
        ),
    ]  # fmt: skip
    holds, fails = holm([claim.p_holds for claim in tested]), holm([claim.p_fails for claim in tested])
    return [_judged(*adjusted, rules.alpha) for adjusted in zip(tested, holds, fails, strict=True)]


def _best_everywhere(published: Mapping[Place, Published]) -> tuple[str, list[Versus]]:
    """The published encoding that is best on the most tasks, and its comparison with every other on each."""
    best: dict[str, str] = {}
    for task, pe in published:
        if task not in best or published[task, pe].ood_percent > published[task, best[task]].ood_percent:
            best[task] = pe
    winners = list(best.values())
    top = max(dict.fromkeys(winners), key=winners.count)
    return top, [(task, top, pe) for task, pe in published if pe != top]


def _losses(record: AccuracyRecord) -> dict[int, float]:
    return {row.epoch: row.validation_loss for row in record.history if row.validation_loss is not None}


def _negative_minimum(record: AccuracyRecord) -> float | None:
    losses = _losses(record).values()
    return -min(losses) if losses else None


def _negative_loss(record: AccuracyRecord, epoch: int) -> float | None:
    loss = _losses(record).get(epoch)
    return None if loss is None else -loss


def _claim(protocol: str, name: str, text: str, unit: str, comparisons: list[Comparison]) -> Claim:
    """The claim with p values that are not yet adjusted for the number of claims."""
    adjusted = holm([p_value(comparison.difference) for comparison in comparisons])
    parts = tuple(replace(comparison, p_adjusted=p) for comparison, p in zip(comparisons, adjusted, strict=True))
    agreeing = [p for part in parts if part.agrees and (p := p_value(part.difference)) is not None]
    opposed = [part.p_adjusted for part in parts if not part.agrees and part.p_adjusted is not None]
    return Claim(
        protocol, name, text, unit, parts,
        p_holds=max(agreeing) if parts and len(agreeing) == len(parts) else None,
        p_fails=min(opposed, default=None),
    )  # fmt: skip


def _judged(claim: Claim, holds: float | None, fails: float | None, alpha: float) -> Claim:
    outcome = ClaimOutcome.undecided
    if significant(fails, alpha):
        outcome = ClaimOutcome.fails
    elif significant(holds, alpha):
        outcome = ClaimOutcome.holds
    return replace(claim, p_holds=holds, p_fails=fails, outcome=outcome)
