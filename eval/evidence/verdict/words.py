"""What the verdicts mean, in sentences: what was judged, what the tests can and cannot show, and what was left out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from enum import StrEnum

from conf import names
from conf.published import largest_std, table1_names
from conf.rules import VerdictRules
from eval.evidence.figures.panels import labelled
from eval.evidence.statistics import smallest_sign_flip
from eval.evidence.verdict.claims import Claim, ClaimOutcome
from eval.evidence.verdict.judge import CellOutcome, CellVerdict, PairOutcome, PairVerdict, Verdicts
from eval.evidence.verdict.paired import place_name, seeds_text


def caption(verdicts: Verdicts) -> str:
    """Profile, rules, and which of them were changed after they had been declared."""
    rules, declared = verdicts.rules, verdicts.declared
    changed = [
        f"{field.name} {getattr(rules, field.name)} (declared {getattr(declared, field.name)})"
        for field in dataclasses.fields(rules)
        if getattr(rules, field.name) != getattr(declared, field.name)
    ]
    note = f" Changed from what was declared: {', '.join(changed)}." if changed else ""
    protocols = "; ".join(names.protocol(name) for name in verdicts.collection.protocols)
    return (
        f"Verdicts on profile {labelled(verdicts.collection)}. Rules (conf/verdict.yaml): equivalence margin "
        f"{rules.margin_points:g} points of OOD accuracy, level {rules.alpha:g} after Holm's adjustment, "
        f"{rules.confidence:.0%} intervals, power stated for a true difference of {rules.effect_points:g} points."
        f"{note} Protocols: {protocols}."
    )


def summary(verdicts: Verdicts) -> tuple[str, ...]:
    """What a reader may and may not conclude, and what was left out: a sentence or two each."""
    return (
        *_about_cells(verdicts),
        *about_pairs(verdicts),
        *_about_sign_flips(verdicts),
        *_about_shared_trainings(verdicts),
        *_about_claims(verdicts),
        *_left_out(verdicts),
    )


def _about_cells(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.no_cells:
        yield f"No cell is compared with its published value: {verdicts.no_cells}."
        yield (
            "Pairs and claims compare these runs with each other. They show whether Resonance helps at this size, not "
            "whether the paper is right at its own."
        )
        return
    yield f"Cells: {_counts(verdicts, verdicts.cells, CellOutcome)}."
    yield (
        "Inconclusive does not mean wrong: if measured and published means were truly equal, the verdict would be "
        f"reproduced with a probability of {spread([cell.power_equal for cell in verdicts.cells])}, depending on the "
        "cell. What the paper prints after its ± is read as 100 times the variance of fractions; the tests use the "
        f"largest variance that rounds to it (0.00 allows a standard deviation of {largest_std(0.0):.2f} points)."
    )


def cells_by_outcome(verdicts: Verdicts) -> Iterator[str]:
    """Which cells were reproduced, contradicted or neither, a sentence a protocol."""
    for protocol, group in itertools.groupby(verdicts.cells, key=lambda cell: cell.protocol):
        cells = list(group)
        by_outcome = {
            outcome: ", ".join(place_name(cell.task, cell.pe) for cell in cells if cell.outcome is outcome)
            for outcome in CellOutcome
        }
        listed = "; ".join(f"{outcome}: {places}" for outcome, places in by_outcome.items() if places)
        yield f"Cells under {protocol} against the published means. {listed[:1].upper()}{listed[1:]}."


def about_pairs(verdicts: Verdicts) -> Iterator[str]:
    """How the pairs came out and what their seeds could have shown."""
    yield f"Pairs: {_counts(verdicts, verdicts.pairs, PairOutcome)}."
    if len({pair.task in table1_names()[0] for pair in verdicts.pairs}) > 1:
        yield "Holm's adjustment spans the pairs of the paper's tasks, and apart from these those of the other tasks."
    powers = [pair.power for pair in verdicts.pairs if pair.outcome is PairOutcome.undecided]
    if powers:
        yield (
            f"Undecided does not mean equal: with seeds this few and this variable, a true difference of "
            f"{verdicts.rules.effect_points:g} points would be found with a probability of {spread(powers)}, depending "
            "on the pair."
        )


def _about_claims(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.claims:
        yield f"Claims of the paper: {_counts(verdicts, verdicts.claims, ClaimOutcome)}."


def _about_sign_flips(verdicts: Verdicts) -> Iterator[str]:
    family = len({(pair.task, pair.pe) for pair in verdicts.pairs})
    counts = sorted({len(pair.seeds) for pair in verdicts.pairs if pair.seeds})
    too_few = [n for n in counts if smallest_sign_flip(n) * family > verdicts.rules.alpha]
    if too_few:
        smallest = ", ".join(f"{smallest_sign_flip(n):.3g} with {_seeds(n)}" for n in too_few)
        enough = next(n for n in itertools.count(1) if smallest_sign_flip(n) * family <= verdicts.rules.alpha)
        yield (
            f"The sign-flip test, which makes no normality assumption, gives no p below {smallest}, too large to "
            f"decide any of {family} pairs (that takes {_seeds(enough)}). Verdicts therefore rest on the paired t "
            "test, which assumes normal differences. The bootstrap interval of so few seeds is too narrow: it shows "
            "the spread and decides nothing."
        )


def _about_shared_trainings(verdicts: Verdicts) -> Iterator[str]:
    places = dict.fromkeys((pair.task, pair.pe) for pair in verdicts.pairs)
    shared = [place_name(*place) for place in places if _same_runs(verdicts, *place)]
    if shared:
        yield f"These pairs are the same trainings under every protocol and count once: {', '.join(shared)}."


def _same_runs(verdicts: Verdicts, task: str, pe: str) -> bool:
    """Whether more than one protocol is judged and all of them share the trainings of a pair."""
    collection = verdicts.collection
    forms = (pe, names.counterpart(pe))
    runs = {
        frozenset(record.run_id for form in forms for record in collection.cell(name, task, form).finished)
        for name in collection.protocols
    }
    return len(collection.protocols) > 1 and len(runs) == 1 and runs != {frozenset()}


def _left_out(verdicts: Verdicts) -> Iterator[str]:
    """Members that diverged, seeds without a partner and encodings beyond the paper's, which no test contains."""
    collection = verdicts.collection
    judged = {(pair.task, pe) for pair in verdicts.pairs for pe in (pair.pe, names.counterpart(pair.pe))}
    beyond = dict.fromkeys(pe for _, task, pe in sorted(collection.cells) if (task, pe) not in judged)
    if beyond:
        yield f"Not in the paper's table and not judged: {', '.join(map(names.encoding, beyond))}."
    for protocol in collection.protocols:
        diverged = [
            f"{place_name(task, pe)} ({seeds_text([record.seed for record in cell.diverged])})"
            for (name, task, pe), cell in sorted(collection.cells.items())
            if name == protocol and cell.diverged and (task, pe) in judged
        ]
        if diverged:
            yield (
                f"Diverged under {protocol} and left out of every test, which biases the comparison in favour of what "
                f"diverged: {', '.join(diverged)}."
            )
        alone = [
            f"{place_name(pair.task, pair.pe)} ({seeds_text(pair.alone)})"
            for pair in verdicts.pairs
            if pair.protocol == protocol and pair.alone
        ]
        if alone:
            yield f"Left out under {protocol}, since only one of the pair has the seed: {', '.join(alone)}."


OTHER_TESTS = (
    "None of these decides a verdict. P(mean > 0): the share of bootstrap means above 0. P(seed > 0): the share of "
    "seeds at which Resonance is ahead. Ties count half. Smallest possible: the smallest p that sign flips of these "
    "seeds can give."
)
COMPARISONS = (
    "Differences above 0 agree with the claim. A minimum is that of each seed's own curve. Epochs for the claim are "
    "significant by their own p, epochs against it by Holm's."
)


def below_table1(rules: VerdictRules) -> str:
    """The caption of the pairs below Table 1."""
    return (
        f"Resonance - counterpart in points of OOD accuracy, paired by seed, with {rules.confidence:.0%} interval. The "
        f"verdict is that of the paired t test at level {rules.alpha:g} after Holm's adjustment over the pairs of a "
        "protocol. `posgen verdict` has the other tests and the paper's claims."
    )


def how_cells_are_judged(rules: VerdictRules) -> tuple[str, ...]:
    """What the verdicts and the powers of cells mean."""
    return (
        f"Reproduced: equivalent to the published mean of {rules.published_seeds} seeds within {rules.margin_points:g} "
        "points (two one-sided Welch tests). Contradicted: different from it (Welch's test) and not equivalent. Both "
        f"at level {rules.alpha:g} after Holm's adjustment over the cells of a protocol.",
        "Power: the probability of reproduced if the true difference were 0, and of finding a difference if it were "
        f"{rules.effect_points:g} points. Lower bounds: they assume Holm's strictest step.",
    )


def how_pairs_are_judged(rules: VerdictRules) -> str:
    """What the verdict and the power of a pair mean."""
    return (
        f"The verdict is that of the paired t test at level {rules.alpha:g} after Holm's adjustment over the pairs of "
        f"a protocol. Power: the probability of finding a true difference of {rules.effect_points:g} points, a lower "
        "bound that assumes Holm's strictest step."
    )


def how_claims_are_judged(rules: VerdictRules) -> str:
    """What the verdict on a claim and its p values mean."""
    return (
        f"{ClaimOutcome.holds}: every comparison is significant in the claimed direction (p holds, the largest of "
        f"their p values). {ClaimOutcome.fails}: at least one is significant in the opposite direction (p fails, the "
        "smallest of these after Holm's adjustment over the comparisons of the claim). Both at level "
        f"{rules.alpha:g} after Holm's adjustment over the claims of a protocol."
    )


def with_diverged(outcome: StrEnum, diverged: Sequence[int]) -> str:
    """The verdict, and how many of the seeds it does not contain because they diverged."""
    return f"{outcome} ({_seeds(len(diverged))} diverged)" if diverged else str(outcome)


def spread(powers: Sequence[float | None]) -> str:
    """`3 % to 41 %`; what cannot be computed, for lack of seeds, is said."""
    known = sorted(power for power in powers if power is not None)
    if not known:
        return "unknown size (it takes two seeds that differ)"
    low, high = percent(known[0]), percent(known[-1])
    text = low if low == high else f"{low} to {high}"
    return text if len(known) == len(powers) else f"{text} (unknown for {len(powers) - len(known)} with too few seeds)"


def percent(share: float) -> str:
    """A probability in whole percent; next to nothing and next to certainty are named so."""
    if 0.0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1.0 else f"{100 * share:.0f} %"


def _counts(
    verdicts: Verdicts, judged: Sequence[CellVerdict] | Sequence[PairVerdict] | Sequence[Claim], kind: type[StrEnum]
) -> str:
    """`1 holds, 4 undecided under paper; 5 undecided under zero_shot, zero_shot_text`."""
    protocols: dict[str, list[str]] = {}
    for name in verdicts.collection.protocols:
        outcomes: list[StrEnum] = [one.outcome for one in judged if one.protocol == name]
        counts = ", ".join(f"{count} {outcome}" for outcome in kind if (count := outcomes.count(outcome)))
        protocols.setdefault(counts or "none", []).append(name)
    return "; ".join(f"{counts} under {', '.join(several)}" for counts, several in protocols.items())


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"
