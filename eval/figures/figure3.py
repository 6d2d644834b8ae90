"""The curves of the paper's Figure 3 from records alone, and whether its three claims hold for them.

A curve is the mean validation loss over the finished seeds of a cell, its band the lowest and highest seed. Seeds that
diverged are in neither, and are counted. eval.figures.figure3_draw puts the curves on paper.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval import names
from eval.cells import Cell, Collection
from eval.figures.bands import Series, seeds_text, series
from eval.figures.panels import differs, labelled

CLAIMS = {
    "a": "(a) Resonance reaches a lower minimum than its counterpart",
    "b": "(b) Resonance RoPE's minimum is below YaRN's on Semi-recursive",
    "c": "(c) Resonance lies below its counterpart at every epoch",
}
"""What the paper says about its figure."""


@dataclass(frozen=True)
class Curve(Series):
    """Validation loss of one cell in nats, at the epochs that all its finished seeds have. Empty when it is missing."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """The points of the curve."""
        return self.at


def curves(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> list[Curve]:
    """The curves of a protocol: one for every published (task, pe), then any other that was measured."""
    return [_curve(protocol, *place, collection.cell(protocol, *place)) for place in collection.rows(published)]


def caption(collection: Collection, found: Sequence[Curve]) -> str:
    """What belongs under the figure of one protocol: setting, seeds, the meaning of curve and band."""
    return (
        f"Validation loss (nats a generated token, at the test length) against epoch. Protocol "
        f"{names.protocol(found[0].protocol)}. Profile {labelled(collection)}, {seeds_text(found)}: curve = mean, "
        f"band = lowest to highest seed. {differs(collection)}"
    )


def claims(found: Sequence[Curve]) -> list[str]:
    """The paper's claims about its figure, each as it came out on the mean curves of one protocol, a line a claim."""
    by_place = {(curve.task, curve.pe): curve for curve in found if curve.epochs}
    pairs = [
        (plain, resonance)
        for (task, pe), resonance in by_place.items()
        if pe.startswith(names.RESONANCE) and (plain := by_place.get((task, names.counterpart(pe))))
    ]
    lines = [
        _claim(CLAIMS["a"], [_minima(p, r) for p, r in pairs]),
        _claim(CLAIMS["c"], [_throughout(p, r) for p, r in pairs]),
    ]
    yarn, rope = by_place.get(("semi_recursive", "yarn")), by_place.get(("semi_recursive", "resonance_rope"))
    between = [_minima(yarn, rope)] if yarn and rope else []
    lines.insert(1, _claim(CLAIMS["b"], between))
    return lines


def tidy_csv(found: Sequence[Curve]) -> str:
    """The numbers behind the figures: one line a protocol, task, encoding and epoch."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("protocol", "task", "pe", "epoch", "loss_mean", "loss_lowest", "loss_highest", "n", "n_diverged"))
    for curve in found:
        writer.writerows(_points(curve))
    return out.getvalue()


def _points(curve: Curve) -> Iterator[tuple[object, ...]]:
    for numbers in zip(curve.epochs, curve.mean, curve.low, curve.high, strict=True):
        yield (curve.protocol, curve.task, curve.pe, *numbers, len(curve.seeds), curve.diverged)


def _curve(protocol: str, task: str, pe: str, cell: Cell) -> Curve:
    return series(
        Curve, (protocol, task, pe), cell,
        lambda record: {
            row["epoch"]: row["validation_loss"]
            for row in record["history"]
            if row.get("validation_loss") is not None
        },
    )  # fmt: skip


def _minima(plain: Curve, resonance: Curve) -> tuple[bool, str]:
    low, high = min(resonance.mean), min(plain.mean)
    who = f"{names.task(plain.task)} {names.encoding(resonance.pe)} {low:.3f} vs {names.encoding(plain.pe)} {high:.3f}"
    return low < high, who


def _throughout(plain: Curve, resonance: Curve) -> tuple[bool, str]:
    ours, theirs = (dict(zip(curve.epochs, curve.mean, strict=True)) for curve in (resonance, plain))
    common = sorted(set(ours) & set(theirs))
    below = sum(ours[epoch] < theirs[epoch] for epoch in common)
    who = f"{names.task(plain.task)} {names.encoding(resonance.pe)} at {below} of {len(common)} epochs"
    return 0 < below == len(common), who


def _claim(text: str, outcomes: list[tuple[bool, str]]) -> str:
    if not outcomes:
        return f"{text}: cannot be said, curves are missing"
    held = sum(holds for holds, _ in outcomes)
    detail = "; ".join(who for holds, who in outcomes if not holds)
    return f"{text}: {held} of {len(outcomes)}{f'; not for {detail}' if detail else ''}"
