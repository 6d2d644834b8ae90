"""The league on paper: a panel a task, a line an encoding in the order of the ranks, a dot a seed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.figures.panels import setting
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle
from eval.evidence.league.standings import Entry, League
from eval.evidence.league.tables import title
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _LINE_HEIGHT, _AROUND = 6.9, 0.2, 1.5  # inches
_TITLE_CHARACTERS, _HEAD_CHARACTERS = 16, 75  # in a line, above a panel and above all
# Okabe-Ito, as eval.evidence.figures.style; the marks differ in shape too.
_PLAIN: dict[str, Any] = {"color": "#0072B2", "marker": "o", "linestyle": "none"}
_RESONANCE: dict[str, Any] = {"color": "#D55E00", "marker": "D", "linestyle": "none"}
_ID: dict[str, Any] = {"color": "0.5", "marker": "|", "linestyle": "none", "markersize": 6, "markeredgewidth": 1.2}


def figure(league: League, protocol: str) -> Figure:
    """OOD accuracy in percent of every encoding: small marks are seeds, the large one is their mean, a grey stroke the
    mean ID accuracy. Encodings stand in the order of their rank, the first on top; those without a rank are last. The
    title names the order where there are ranks.

    Raises UserError when the protocol has no finished run.
    """
    import matplotlib
    from matplotlib.figure import Figure

    entries = league.entries.get(protocol, ())
    if not any(place.ood_accuracy for entry in entries for place in entry.places.values()):
        raise UserError(f"protocol={protocol}: no finished run in the league; run `posgen sweep --league`")
    with matplotlib.rc_context(SETTINGS):
        drawn = Figure(figsize=(_WIDTH, _LINE_HEIGHT * len(entries) + _AROUND), layout="constrained")
        panels = drawn.subplots(1, len(league.tasks), squeeze=False, sharey=True)[0]
        for panel, task in zip(panels, league.tasks, strict=True):
            _panel(panel, league, task, entries)
        panels[0].set_yticks(range(len(entries)), [_label(entry) for entry in entries], fontsize=SMALL)
        panels[0].set_ylim(len(entries) - 0.4, -0.6)
        drawn.legend(
            handles=_marks(), loc="outside lower center", ncols=5, frameon=False, fontsize=SMALL, columnspacing=1.0,
            handletextpad=0.3,
        )  # fmt: skip
        order = ", in the order of the mean OOD accuracy" * any(entry.rank is not None for entry in entries)
        head = f"{title(league)}, protocol {protocol}{order}"
        drawn.suptitle(setting(league.collection, textwrap.fill(head, _HEAD_CHARACTERS)), fontsize=SMALL + 0.5)
        drawn.draw_without_rendering()  # the first layout does not know yet how wide the names are
        settle(drawn)
    return drawn


def _panel(panel: Axes, league: League, task: str, entries: tuple[Entry, ...]) -> None:
    panel.set_title(textwrap.fill(names.task(task), _TITLE_CHARACTERS))
    bare(panel)
    moduli = {r.training.task.modulus for r in league.collection.records() if r.task == task}
    for modulus in sorted(moduli):
        panel.axvline(100 / modulus, **GUIDE)
    for line, entry in enumerate(entries):
        place, look = entry.places[task], _look(entry)
        if place.id:
            panel.plot([place.id.mean], [line], **_ID)
        values = [100 * value for value in place.ood_accuracy.values()]
        panel.plot(values, [line] * len(values), **look, markersize=2.2, alpha=0.6, markeredgewidth=0)
        if place.ood:
            panel.plot([place.ood.mean], [line], **look, markersize=5, markerfacecolor="none", markeredgewidth=1.1)
    panel.set_xlim(-3, 103)
    panel.set_xticks([0, 25, 50, 75, 100])
    panel.tick_params(axis="x", labelsize=SMALL)
    panel.set_xlabel("OOD accuracy (%)", fontsize=SMALL + 0.5)


def _look(entry: Entry) -> dict[str, Any]:
    return _RESONANCE if entry.pe.startswith(names.RESONANCE) else _PLAIN


def _label(entry: Entry) -> str:
    diverged = sum(len(place.diverged) for place in entry.places.values())
    missing = sum(not place.ood_accuracy for place in entry.places.values())
    words = [f"{diverged} diverged"] * bool(diverged) + [f"{missing} missing"] * bool(missing)
    return names.encoding(entry.pe) + (f" ({', '.join(words)})" if words else "")


def _marks() -> list[Any]:
    from matplotlib.lines import Line2D

    large: dict[str, Any] = {"markersize": 5, "markerfacecolor": "none", "markeredgewidth": 1.1}
    return [
        Line2D([], [], **_PLAIN, **large, label="mean"),
        Line2D([], [], **_RESONANCE, **large, label="mean, Resonance"),
        Line2D([], [], **_PLAIN, markersize=2.2, alpha=0.6, markeredgewidth=0, label="a seed"),
        Line2D([], [], **_ID, label="mean ID"),
        Line2D([], [], **GUIDE, label="chance"),
    ]
