"""What the verdicts say in plain words: caption, what the numbers can and cannot say, and what was left out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from conf import names
from conf.published import largest_std
from eval.evidence.figures.panels import labelled
from eval.evidence.statistics import smallest_sign_flip
from eval.evidence.verdict.cells import CellOutcome, CellVerdict
from eval.evidence.verdict.claims import ClaimOutcome
from eval.evidence.verdict.judge import Verdicts
from eval.evidence.verdict.paired import seeds_text
from eval.evidence.verdict.pairs import PairOutcome, PairVerdict


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
        f"Profile {labelled(verdicts.collection)}. Rules, as conf/verdict.yaml declares them: equivalence margin "
        f"{rules.margin_points:g} points of OOD accuracy, level {rules.alpha:g} after Holm's adjustment, "
        f"{rules.confidence:.0%} intervals, power stated for a true difference of {rules.effect_points:g} points."
        f"{note} Protocols: {protocols}."
    )


def plain(verdicts: Verdicts) -> list[str]:
    """What a reader may and may not take from these numbers, a sentence or two each."""
    return [
        *_about_cells(verdicts),
        *about_pairs(verdicts),
        *_about_tests(verdicts),
        *_about_trainings(verdicts),
        *_about_claims(verdicts),
    ]


def about_pairs(verdicts: Verdicts) -> Iterator[str]:
    """How the pairs came out and what their seeds could have shown."""
    counts = {
        name: _counts(PairOutcome, (pair.outcome for pair in verdicts.pairs if pair.protocol == name))
        for name in verdicts.collection.protocols
    }
    yield f"Pairs: {'; '.join(f'{count} under {name}' for name, count in counts.items())}."
    undecided = [pair for pair in verdicts.pairs if pair.outcome is PairOutcome.undecided]
    if undecided:
        yield f"Undecided does not mean equal: {_power(undecided, verdicts.rules.effect_points)}."


def _about_tests(verdicts: Verdicts) -> Iterator[str]:
    family = len({(pair.task, pair.pe) for pair in verdicts.pairs})
    counts = sorted({len(pair.seeds) for pair in verdicts.pairs if pair.seeds})
    weak = [n for n in counts if smallest_sign_flip(n) * family > verdicts.rules.alpha]
    if weak:
        floor = "; ".join(f"p {smallest_sign_flip(n):.3g} with {_seeds(n)}" for n in weak)
        enough = next(n for n in itertools.count(1) if smallest_sign_flip(n) * family <= verdicts.rules.alpha)
        yield (
            f"The sign-flip test, which takes nothing for granted, cannot fall below {floor}: too much to decide one "
            f"of {family} pairs, for which it takes {_seeds(enough)}. What is decided rests on the paired t test, "
            "which takes the differences for normal. The bootstrap interval of so few seeds is too narrow; it shows "
            "the spread and decides nothing."
        )


def left_out(verdicts: Verdicts) -> list[str]:
    """Members that diverged, seeds without a partner and encodings beyond the paper's, which no test contains."""
    lines = []
    judged = _judged(verdicts)
    others = dict.fromkeys(pe for _, task, pe in sorted(verdicts.collection.cells) if (task, pe) not in judged)
    if others:
        lines.append(f"Not in the paper's table and not judged: {', '.join(map(names.encoding, others))}.")
    for protocol in verdicts.collection.protocols:
        fallen = [
            f"{names.task(task)} {names.encoding(pe)} ({seeds_text([record.seed for record in cell.diverged])})"
            for (name, task, pe), cell in sorted(verdicts.collection.cells.items())
            if name == protocol and cell.diverged and (task, pe) in judged
        ]
        if fallen:
            lines.append(
                f"Diverged under {protocol} and left out of every test, which flatters what diverged: "
                f"{', '.join(fallen)}."
            )
        single = [
            f"{pair_name(pair)} ({seeds_text(pair.alone)})"
            for pair in verdicts.pairs
            if pair.protocol == protocol and pair.alone
        ]
        if single:
            lines.append(f"Seeds that only one of a pair has under {protocol}, left out: {', '.join(single)}.")
    return lines


def pair_name(pair: PairVerdict) -> str:
    """`CoT Resonance RoPE`: the pair by its Resonance form."""
    return f"{names.task(pair.task)} {names.encoding(pair.pe)}"


def with_diverged(outcome: StrEnum, judged: CellVerdict | PairVerdict) -> str:
    """The verdict, and how many of the seeds it does not contain because they diverged."""
    count = len(judged.diverged)
    return f"{outcome} ({_seeds(count)} diverged)" if count else str(outcome)


def _about_cells(verdicts: Verdicts) -> Iterator[str]:
    if verdicts.no_cells:
        yield f"No cell is compared with its published value: {verdicts.no_cells}."
        yield (
            "Pairs and claims compare these runs with each other. They say whether Resonance helped at this "
            "size, not whether the paper is right at its own."
        )
        return
    for protocol in verdicts.collection.protocols:
        ours = [cell for cell in verdicts.cells if cell.protocol == protocol]
        yield f"Cells under {protocol}: {_counts(CellOutcome, (cell.outcome for cell in ours))}."
    yield (
        f"Inconclusive does not mean wrong: {_reproducible(verdicts)}. What the paper prints after its ± is taken "
        "for 100 times the variance of fractions, and for the largest that prints so (0.00 stands for up to "
        f"{largest_std(0.0):.2f} points)."
    )


def _reproducible(verdicts: Verdicts) -> str:
    powers = [cell.power_equal for cell in verdicts.cells]
    return (
        "were measured and published means truly equal, the verdict would be reproduced with a probability of "
        f"{spread(powers)}, depending on the cell"
    )


def _power(pairs: Sequence[PairVerdict], points: float) -> str:
    return (
        f"with seeds as few and as different as these, a true difference of {points:g} points would have been found "
        f"with a probability of {spread([pair.power for pair in pairs])}, depending on the pair"
    )


def _about_trainings(verdicts: Verdicts) -> Iterator[str]:
    shared = [
        f"{names.task(task)} {names.encoding(pe)}"
        for task, pe in dict.fromkeys((pair.task, pair.pe) for pair in verdicts.pairs)
        if _same_runs(verdicts, task, pe)
    ]
    if shared:
        yield f"The same trainings under every protocol, so to be counted once: the pairs {', '.join(shared)}."


def _about_claims(verdicts: Verdicts) -> Iterator[str]:
    counts = {
        name: _counts(ClaimOutcome, (claim.outcome for claim in verdicts.claims if claim.protocol == name))
        for name in verdicts.collection.protocols
    }
    yield f"Claims of the paper: {'; '.join(f'{count} under {name}' for name, count in counts.items())}."


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


def _counts(kind: type[StrEnum], outcomes: Iterable[StrEnum]) -> str:
    found = list(outcomes)
    return ", ".join(f"{found.count(one)} {one}" for one in kind)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _judged(verdicts: Verdicts) -> set[tuple[str, str]]:
    return {(pair.task, pe) for pair in verdicts.pairs for pe in (pair.pe, names.counterpart(pair.pe))}


def _same_runs(verdicts: Verdicts, task: str, pe: str) -> bool:
    """Whether more than one protocol is judged and all of them share the trainings of a pair."""
    found = verdicts.collection
    runs = {
        frozenset(
            record.run_id for form in (pe, names.counterpart(pe)) for record in found.cell(name, task, form).finished
        )
        for name in found.protocols
    }
    return len(found.protocols) > 1 and len(runs) == 1 and runs != {frozenset()}
