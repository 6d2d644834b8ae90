"""Encodings on paper: wavelengths and feature gaps, and the paper's Figure 1, one pre-critical feature's values."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from conf import names
from eval.evidence.figures.feature_gap import Features, feature_angles, feature_gaps, wavelengths
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from models.encodings import Rotary
from posgen.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAINED, _NEW = "#0072B2", "#D55E00"  # Okabe-Ito, as eval.evidence.figures.style
_MARKERS = "os^Dv<>P"
_SMALLEST_GAP = 0.01  # below it the axis of the gaps is linear, so that an exact 0 has a place
_LABELLED = 12  # wavelengths that can be written into a panel side by side
_LINE = 34  # characters under a panel
_WINDOW = 256  # positions of Figure 1 at most: more would run into each other


def draw_features(by_encoding: Mapping[str, Features], settings: str) -> Figure:
    """Three panels against the feature: each encoding's wavelengths, their distance to the nearest whole number of
    tokens (0 under Resonance) for the pre-critical features, and the gaps. Critical features are marked and named.
    `settings` stand above, in words."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    drawn_as = styles(list(by_encoding))
    with matplotlib.rc_context(SETTINGS):
        rows = -(-len(by_encoding) // 4)
        figure = Figure(figsize=(6.9, 2.9 + 0.17 * rows), layout="constrained")
        waves, rests, gaps = figure.subplots(1, 3)
        handles = []
        for at, (name, features) in enumerate(by_encoding.items()):
            colour, dashes = drawn_as[name]
            # Those of a Resonance form lie on its counterpart's: filled in open marks, both are seen.
            open_mark = not name.startswith(names.RESONANCE)
            look: dict[str, Any] = {
                "color": colour, "linestyle": dashes, "linewidth": 1.0, "marker": _MARKERS[at % len(_MARKERS)],
                "markersize": 4.2 if open_mark else 2.4, "markeredgewidth": 0.7,
                "markerfacecolor": "none" if open_mark else colour,
            }  # fmt: skip
            index = np.arange(len(features.wavelengths))
            turning = np.isfinite(features.wavelengths)
            waves.plot(index[turning], features.wavelengths[turning], **look)
            before = index[turning & (features.wavelengths < features.train_length)]
            rests.plot(before, features.wavelengths[before] - np.round(features.wavelengths[before]), **look)
            if features.gaps is not None:
                gaps.plot(index, features.gaps, **look)
            handles.append(Line2D([], [], label=names.encoding(name), **look))
        for critical in sorted({f.critical for f in by_encoding.values() if f.critical is not None}):
            for panel in (waves, gaps):
                panel.axvline(critical, color="0.75", linewidth=0.8, zorder=0.5)
        _scales(waves, rests, gaps, next(iter(by_encoding.values())))
        _whole(rests, by_encoding, drawn_as)
        _remarks(waves, gaps, by_encoding)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, handlelength=3.2,
            fontsize=SMALL + 0.5, columnspacing=1.4,
        )  # fmt: skip
        figure.suptitle(settings, fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _scales(waves: Axes, rests: Axes, gaps: Axes, features: Features) -> None:
    from matplotlib.ticker import MaxNLocator

    titles = ("wavelength (tokens)", "its distance to a whole number", "feature gap (unit vectors)")
    for panel, title in zip((waves, rests, gaps), titles, strict=True):
        bare(panel)
        panel.set_title(title, fontsize=SMALL + 0.5)
        panel.set_xlabel("feature", fontsize=SMALL + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        panel.tick_params(labelsize=SMALL)
    rests.set_xlabel("pre-critical feature", fontsize=SMALL + 0.5)
    rests.set_ylim(-0.55, 0.55)
    rests.set_xlim(rests.get_xlim()[0] - 0.4, rests.get_xlim()[1] + 0.4)
    waves.set_yscale("log")
    for length, word in ((features.train_length, "L"), (features.test_length, "L'")):
        waves.axhline(length, **GUIDE)
        # On the left, where the wavelengths are below both.
        place: Any = ("axes fraction", "data")
        waves.annotate(f"{word} = {length}", (0.02, length), xycoords=place, va="bottom", fontsize=SMALL)
    gap_axis(gaps)


def _whole(rests: Axes, by_encoding: Mapping[str, Features], drawn_as: Mapping[str, tuple[str, Any]]) -> None:
    """Write the whole wavelengths of the first Resonance encoding at their points, if there is room for them."""
    for name, features in by_encoding.items():
        wavelengths = features.wavelengths[features.wavelengths < features.train_length]
        if name.startswith(names.RESONANCE) and 0 < len(wavelengths) <= _LABELLED:
            for feature, wavelength in enumerate(wavelengths):
                rests.annotate(
                    f"{wavelength:.0f}", (feature, 0), xytext=(0, 3), textcoords="offset points", ha="center",
                    fontsize=SMALL - 1, color=drawn_as[name][0],
                )  # fmt: skip
            return


def _remarks(waves: Axes, gaps: Axes, by_encoding: Mapping[str, Features]) -> None:
    """Under the panels: which features are critical, and which encodings have no gap."""
    criticals: dict[str, list[str]] = {}
    for name, features in by_encoding.items():
        word = "none" if features.critical is None else str(features.critical)
        criticals.setdefault(word, []).append(names.encoding(name))
    differ = len(criticals) > 1
    words = [f"critical: {word}" + f" ({', '.join(who)})" * differ for word, who in criticals.items()]
    lines = [line for text in words for line in textwrap.wrap(text, _LINE)]
    waves.set_xlabel("\n".join(["feature", *lines]), fontsize=SMALL)
    unknown = ", ".join(names.encoding(name) for name, features in by_encoding.items() if features.gaps is None)
    if unknown:
        lines = textwrap.wrap(f"no gap by position: {unknown}", _LINE)
        gaps.set_xlabel("\n".join(["feature", *lines]), fontsize=SMALL)


def gap_axis(panel: Axes) -> None:
    """A y axis for gaps of unit vectors, 0 to 2: logarithmic, with a place for an exact 0."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    panel.set_yscale("symlog", linthresh=_SMALLEST_GAP, linscale=0.5)
    panel.set_ylim(-0.0015, 2.6)
    panel.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 2]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_locator(FixedLocator([]))


def shown_feature(features: Features, feature: int | None) -> int | None:
    """Which feature Figure 1 shows, of those of the plain encoding: `feature`, or the pre-critical one with the
    largest gap. None: there is no Figure 1, because no pre-critical feature meets a new position.

    Raises BadValue for a feature that is not pre-critical.
    """
    count = len(features.wavelengths) if features.critical is None else features.critical
    if features.gaps is None or count == 0 or features.train_length == features.test_length:
        return None
    require(feature is None or 0 <= feature < count, "feature", feature, f"use a pre-critical one, 0 to {count - 1}")
    return int(np.argmax(features.gaps[:count])) if feature is None else feature


def draw_figure1(
    encoding: Rotary,
    train_length: int,
    test_length: int,
    feature: int,
    settings: str,
    ticked: Callable[[], None] = lambda: None,
) -> Figure:
    """The paper's Figure 1: the cosine of one feature's angle over positions, without and with Resonance.

    Beside it, on the same axis, all values that training showed and all new ones. At most 256 positions around the
    training length are drawn, all are counted. `settings` stand above, in words. `ticked`: as `feature_gaps` has it,
    for both.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.9, 3.8), layout="constrained")
        grid = figure.subplots(2, 2, width_ratios=[6, 1], sharex="col", sharey=True, squeeze=False)
        for (curve, strip), resonance in zip(grid, (False, True), strict=True):
            form = replace(encoding, resonance=resonance)
            wavelength = wavelengths(form, test_length)[feature]
            gap = feature_gaps(form, train_length, test_length, ticked)[feature]
            with_it = "with Resonance" if resonance else "without Resonance"
            curve.set_title(f"{with_it}: wavelength {wavelength:.6g} tokens, feature gap {gap:.3g}", loc="left")
            curve.set_ylabel(rf"$\cos(n\,\theta_{{{feature}}})$")
            values = np.cos(feature_angles(form, feature, test_length))
            _over_positions(curve, values, train_length, wavelength)
            _all_values(strip, values, train_length)
        grid[1, 0].set_xlabel("position n (tokens)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL + 0.5)
        figure.suptitle(f"Feature {feature} of {names.encoding(encoding.name)}, {settings}", fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _over_positions(panel: Axes, values: np.ndarray, train_length: int, wavelength: float) -> None:
    bare(panel)
    start = max(0, min(train_length - _WINDOW // 4, len(values) - _WINDOW))
    stop = min(len(values), start + _WINDOW)
    between = np.linspace(start, stop - 1, 20 * (stop - start))
    panel.plot(between, np.cos(2 * np.pi / wavelength * between), color="0.8", linewidth=0.6, zorder=1)
    panel.axvline(train_length - 0.5, **GUIDE)
    for low, high, colour, mark, label in (
        (start, train_length, _TRAINED, "o", f"trained positions, 0 to {train_length - 1}"),
        (train_length, stop, _NEW, "D", f"new positions, {train_length} to {len(values) - 1}"),
    ):
        panel.plot(np.arange(low, high), values[low:high], mark, color=colour, markersize=2.2, label=label)
    panel.set_xlim(start - 1, stop)


def _all_values(panel: Axes, values: np.ndarray, train_length: int) -> None:
    """Every value as a stroke, trained ones on the left: a stroke on the right alone is a value never trained on."""
    bare(panel)
    for left, part, colour in ((0.0, values[:train_length], _TRAINED), (1.0, values[train_length:], _NEW)):
        # To a thousandth, finer than print: tens of thousands of strokes are drawn once each.
        panel.hlines(np.unique(np.round(part, 3)), left, left + 1, color=colour, linewidth=0.6)
    panel.set_xlim(0, 2)
    panel.set_xticks([0.5, 1.5], ["trained", "new"], fontsize=SMALL)
    panel.grid(visible=False)
