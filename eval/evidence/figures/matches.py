"""How well wrong distances match: what a head that looks for one distance confuses with it, by its features alone.

A query and a key at distance d whose features are those of distance 0 turned by their angles: their product is the mean
of cos(angle_j(d)), 1 at d = 0. Slow features, which all but stand still, add the same to all near distances; so only
the pre-critical ones are counted, as the paper's Theorem 1 does. Periods that come together again far out return a
match near 1 (aliasing). Distances count tokens; numpy in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from conf import names
from eval.evidence.figures.feature_gap import angle_chunks, critical_feature, wavelengths
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from models.encodings import Rotary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 4
"""Distances below a quarter of the training length are near: they match because they are near."""


def best_matches(
    encoding: Rotary, train_length: int, length: int, ticked: Callable[[], None] = lambda: None
) -> np.ndarray | None:
    """The best match up to each distance, float64 [length]: its maximum over all distances from train_length / `NEAR`
    on; NaN at nearer ones. In a sequence of `length` tokens. `ticked` is called `feature_gap.chunks(0, length)` times.
    None, and no call, where no feature is pre-critical."""
    count = critical_feature(wavelengths(encoding, length), train_length)
    if count == 0:
        return None
    parts = []
    for angles in angle_chunks(encoding, 0, length):
        parts.append(np.cos(angles[:, :count]).mean(axis=1))
        ticked()
    matches = np.concatenate(parts)
    near = train_length // NEAR
    return np.concatenate([np.full(min(near, length), np.nan), np.maximum.accumulate(matches[near:])])


def draw_matches(
    by_encoding: Mapping[str, Rotary],
    train_length: int,
    length: int,
    settings: str,
    ticked: Callable[[], None] = lambda: None,
) -> Figure:
    """A line for each encoding: its best wrong match among all distances up to n, against n on a log scale."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn_as = styles(list(by_encoding))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.9, 3.2), layout="constrained")
        panel = figure.subplots()
        bare(panel)
        for name, encoding in by_encoding.items():
            best = best_matches(encoding, train_length, length, ticked)
            if best is None:
                continue
            colour, dashes = drawn_as[name]
            look: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.3}
            # Its rises and its end say all: a few dozen points, where a long context has millions.
            steps = np.append(np.flatnonzero(np.diff(best, prepend=np.nan)), length - 1)
            panel.step(steps, best[steps], where="post", label=names.encoding(name), **look)
        panel.axvline(train_length, **GUIDE)
        panel.annotate(
            f"L = {train_length}", (train_length, 0.02), xycoords=("data", "axes fraction"), xytext=(3, 0),
            textcoords="offset points", fontsize=SMALL,
        )  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_xlim(train_length // NEAR, max(length, train_length))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        panel.set_ylim(top=1.02)
        panel.set_xlabel("all distances up to n (tokens)")
        panel.set_ylabel("best match with a wrong distance")
        panel.set_title(f"Mean cosine of the pre-critical features, {settings}", fontsize=SMALL + 0.5)
        panel.legend(fontsize=SMALL + 0.5, frameon=False, loc="upper left")
        settle(figure)
    return figure
