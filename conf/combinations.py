"""Settings with several values, `key=a,b` and `key=range(1,4)`: every combination of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from conf.overrides import check, parse
from posgen.errors import BadValue, require

if TYPE_CHECKING:
    from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

# Combinations that one call plans at most: each is a sweep of its own.
_POINTS = 10_000


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination that comma lists and ranges ask for, the last key fastest; one when there are none."""
    for end, text in enumerate(overrides, start=1):
        if points(overrides[:end]) > _POINTS:
            key, _, value = text.partition("=")
            raise BadValue(key, value, f"makes more than {_POINTS:,} combinations; give fewer values at once")
    combined: list[tuple[str, ...]] = [()]
    for text in overrides:
        override = parse(text)
        values = _values(text, override) if override.is_sweep_override() else [text]
        combined = [(*point, value) for point in combined for value in values]
    return combined


def points(overrides: Sequence[str]) -> int:
    """How many combinations `expand` gives, counted without making them. BadValue for what names no values."""
    total = 1
    for text in overrides:
        override = parse(text)
        total *= _count(text, _swept(text, override)) if override.is_sweep_override() else 1
    return total


def _swept(text: str, override: Override) -> ChoiceSweep | RangeSweep:
    """The values of one setting that has several."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    swept = override.value()
    if not isinstance(swept, (ChoiceSweep, RangeSweep)) or swept.shuffle:
        value = text.partition("=")[2]
        raise BadValue(override.key_or_group, value, "cannot be listed; give its values, such as 1,2,3 or range(1,4)")
    return swept


def _count(text: str, swept: ChoiceSweep | RangeSweep) -> int:
    from hydra.core.override_parser.types import ChoiceSweep

    if isinstance(swept, ChoiceSweep):
        return len(swept.list)
    key, _, value = text.partition("=")
    try:
        start, stop, step = (Fraction(number) for number in (swept.start, swept.stop, swept.step))  # type: ignore[arg-type]
        count = -((start - stop) // step)
    except (ValueError, TypeError, ArithmeticError):  # range(1,2,0), without an end, or of texts
        raise BadValue(key, value, "is no range; write range(START,STOP) or range(START,STOP,STEP)") from None
    require(count > 0, key, value, "is an empty range; write range(START,STOP) with START below STOP")
    return count


def _values(text: str, override: Override) -> list[str]:
    """The settings that one setting with several values stands for, checked."""
    _swept(text, override)
    values = [f"{override.key_or_group}={v}" for v in override.sweep_string_iterator()]
    for each in values:
        check(each, parse(each), sweeps=False)
    return values
