"""The one sentence on top of an audit, and the words that its tables share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from posgen.audit.search import Answered, Audit, places
from posgen.spec import Task

_RUN = 3
"""Positions in equal steps that are written as a run at least."""


@dataclass(frozen=True)
class Audited:
    """A task, its title, the length of the sequences, and what was found."""

    task: Task
    title: str
    length: int
    audit: Audit


def sentence(audited: Audited) -> str:
    """What the task asks: how many of its answers need the far token, and what is possible without it."""
    task, answered = audited.task, audited.audit.answered
    head = f"{audited.title} (modulus {task.modulus}, {_h(task)}, {audited.length} tokens): "
    return head + (_with_far(audited, answered) if any(each.asked.far for each in answered) else _near_only(audited))


def _with_far(audited: Audited, answered: Sequence[Answered]) -> str:
    chance, last = Fraction(1, audited.task.modulus), f"the last {audited.audit.window} tokens"
    far = [each for each in answered if each.asked.far]
    if all(accuracy == chance for each in far for accuracy in each.without[: len(each.asked.far)]):
        rest = len(answered) - len(far)
        need = (
            f"the {len(far)} answers with a far token need it" if rest else f"all {len(far)} answers need the far token"
        )
        others = f"; the other {rest} follow from near tokens alone" if rest else ""
        return (
            f"{need}: without it the best possible accuracy is exactly 1/{audited.task.modulus}, {percent(chance)} %, "
            f"even if every other earlier token is known{others}."
        )
    fewest = [each.fewest_without_far for each in answered if each.fewest_without_far is not None]
    best = percent(mean(each.without_far[-1] for each in answered))
    if not fewest:
        return f"no answer follows from {last} without the far token; they allow {best} % accuracy at best."
    needed = [each.asked.position for each in answered if each.fewest_without_far is None]
    where = f"only at position{'s' * (len(needed) > 1)} {runs(needed)}" if needed else "nowhere"
    sizes = f"{min(fewest)}" if min(fewest) == max(fewest) else f"{min(fewest)} to {max(fewest)}"
    return (
        f"{len(fewest)} of {len(answered)} answers follow from {sizes} of {last} without the far token, which is "
        f"needed {where}; without it {best} % accuracy is possible."
    )


def _near_only(audited: Audited) -> str:
    answered = audited.audit.answered
    sizes = [len(each.smallest[0]) for each in answered if each.smallest]
    best = percent(mean(each.windows[-1] for each in answered))
    last = f"the last {audited.audit.window} tokens"
    if not sizes:
        return f"no answer follows from {last}; they allow {best} % accuracy at best."
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return f"{len(sizes)} of {len(answered)} answers follow from {span} of {last}, which allow {best} % accuracy."


def _h(task: Task) -> str:
    return f"h = sum mod {task.modulus}" if task.h == "sum_mod" else f"h = {task.h}"


def mean(values: Iterable[Fraction]) -> Fraction:
    """The exact mean."""
    listed = list(values)
    return sum(listed, Fraction(0)) / len(listed)


def percent(fraction: Fraction) -> str:
    """With two decimals."""
    return f"{100 * float(fraction):.2f}"


def place_name(place: int | str) -> str:
    """`l-4` for a distance, `far` for a far token."""
    return place if isinstance(place, str) else f"l-{place}"


def set_name(chosen: Iterable[int | str]) -> str:
    """`{l-1, l-4}`: near ones first, the nearest first."""
    ordered = sorted(chosen, key=lambda place: (isinstance(place, str), place))
    return f"{{{', '.join(map(place_name, ordered))}}}"


def smallest_names(each: Answered, window: int) -> tuple[str, ...]:
    """The smallest determining sets of one prediction."""
    named = places(each.asked, window)
    return tuple(set_name(named[position] for position in known) for known in each.smallest)


def runs(numbers: Sequence[int]) -> str:
    """`4, 6-9, 11-63 by 2`: rising numbers, those in equal steps as a run."""
    parts, start = [], 0
    while start < len(numbers):
        end = start + 1
        if end < len(numbers):
            step = numbers[end] - numbers[start]
            while end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
                end += 1
        if end < len(numbers) and end - start + 1 >= _RUN:
            parts.append(f"{numbers[start]}-{numbers[end]}" + (f" by {step}" if step > 1 else ""))
            start = end + 1
        else:
            parts.append(str(numbers[start]))
            start += 1
    return ", ".join(parts)
