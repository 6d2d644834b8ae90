"""Effects of an experiment on paper: a panel a task, an effect a line, a dot a seed, the mean with its interval."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eval.evidence.experiment import words
from eval.evidence.experiment.judge import Judged
from eval.evidence.experiment.measured import Estimate
from eval.evidence.experiment.tables import decided
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
_WIDTH, _LINE, _AROUND, _FOOT = 6.9, 0.19, 0.65, 0.75
_ACROSS = 4  # panels in a row
_CHARACTERS, _TITLE = 105, 18
# Okabe-Ito, as eval.evidence.figures.style; decided and undecided differ in filling too.
_MAIN, _INTERACTION = "#0072B2", "#D55E00"


def figure(judged: Judged) -> Figure:
    """Main effects and interactions in points of OOD accuracy. Raises UserError when no effect could be measured."""
    import matplotlib
    from matplotlib.figure import Figure

    if not any(estimate.difference for estimate in judged.effects):
        name = judged.measured.experiment.name
        raise UserError(
            f"experiment={name}: no effect has the records of a whole seed; run `posgen experiment run {name}`"
        )
    tasks = list(dict.fromkeys(estimate.task for estimate in judged.effects))
    titles = list(dict.fromkeys(estimate.contrast.title for estimate in judged.effects))
    across = min(_ACROSS, len(tasks))
    down = math.ceil(len(tasks) / across)
    names = [_name(title) for title in titles]
    lines = 1 + max(name.count("\n") for name in names)
    # Lines of text in a name stand closer than effects.
    height = down * (_LINE * (1 + 0.35 * (lines - 1)) * len(titles) + _AROUND) + _FOOT
    with matplotlib.rc_context(SETTINGS):
        drawn = Figure(figsize=(_WIDTH, height), layout="constrained")
        panels = drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
        for panel, task in zip(panels, tasks, strict=False):
            _panel(panel, [estimate for estimate in judged.effects if estimate.task == task], titles)
        for panel in panels[len(tasks) :]:
            panel.set_axis_off()
        for panel in panels[::across]:
            panel.set_yticks(range(len(titles)), names, fontsize=SMALL, linespacing=1.0)
            panel.set_ylim(len(titles) - 0.5, -0.5)
        drawn.legend(handles=_marks(judged), loc="outside lower center", ncols=4, frameon=False, fontsize=SMALL,
                     columnspacing=1.2, handletextpad=0.4)  # fmt: skip
        drawn.suptitle(_title(judged), fontsize=SMALL + 0.5)
        drawn.draw_without_rendering()  # the first layout does not know yet how wide the names are
        settle(drawn)
    return drawn


def caption(judged: Judged) -> str:
    """Under the figure."""
    confidence = f"{judged.measured.experiment.rule.confidence:.0%}"
    return (
        f"Effects on OOD accuracy in points: mean over seeds with {confidence} interval (Student's t), small dots are "
        f"seeds; not adjusted. {words.caption(judged.measured)}"
    )


def alt(judged: Judged) -> str:
    """What is seen, for those who do not see it: which effects stand out, largest first."""
    found = sorted((e for e in judged.effects if decided(e)), key=lambda e: -abs(_mean(e)))
    named = [f"{e.contrast.title} on {words.task_title(e.task)} {_mean(e):+.1f}" for e in found]
    rest = f"; {len(named) - 5} more" if len(named) > 5 else ""
    largest = f"Largest whose interval leaves 0 out: {'; '.join(named[:5])}{rest}." if named else ""
    seen = "Dot plot, an effect a line, a panel a task, points of OOD accuracy with intervals."
    return f"{seen} {largest or 'No interval leaves 0 out.'} {caption(judged)}"


def _mean(estimate: Estimate) -> float:
    return estimate.difference.mean if estimate.difference else 0.0


def _title(judged: Judged) -> str:
    measured = judged.measured
    head = f"Experiment {measured.experiment.name}: effects on OOD accuracy, profile {measured.profile}"
    undeclared = "" if measured.declared else " (not declared)"
    return "\n".join([f"{head}{undeclared}", *textwrap.wrap(measured.label, _CHARACTERS)])


def _name(title: str) -> str:
    """An effect's title in lines: an interaction's second factor stands on its own."""
    if len(title) > _TITLE and " × " in title:
        return title.replace(" × ", "\n× ")
    return textwrap.fill(title, _TITLE)


def _panel(panel: Axes, estimates: Sequence[Estimate], titles: Sequence[str]) -> None:
    panel.set_title(textwrap.fill(words.task_title(estimates[0].task), _TITLE))
    bare(panel)
    panel.axvline(0.0, **GUIDE)
    for estimate in estimates:
        line, colour = titles.index(estimate.contrast.title), _colour(estimate)
        panel.plot(estimate.values, [line] * len(estimate.values), "o", color=colour, markersize=2.0, alpha=0.45,
                   markeredgewidth=0)  # fmt: skip
        if estimate.difference is None:
            panel.text(0.5, line, "missing", transform=panel.get_yaxis_transform(), ha="center", va="center",
                       fontsize=SMALL - 1, color="0.4")  # fmt: skip
            continue
        if interval := estimate.difference.interval:
            panel.plot([interval.low, interval.high], [line, line], "-", color=colour, linewidth=1.2)
        filled = colour if decided(estimate) else "white"
        panel.plot([estimate.difference.mean], [line], "o", color=colour, markersize=4.5, markerfacecolor=filled,
                   markeredgewidth=1.1)  # fmt: skip
    panel.tick_params(axis="x", labelsize=SMALL, labelbottom=True)
    panel.set_xlabel("points", fontsize=SMALL + 0.5)


def _colour(estimate: Estimate) -> str:
    return _MAIN if estimate.contrast.factors == 1 else _INTERACTION


def _marks(judged: Judged) -> list[Any]:
    from matplotlib.lines import Line2D

    confidence = f"{judged.measured.experiment.rule.confidence:.0%}"
    dot: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markeredgewidth": 1.1, "linewidth": 1.2}
    kinds = {e.contrast.factors for e in judged.effects}
    return [
        Line2D([], [], color=_MAIN, **dot, label=f"main effect, {confidence} interval"),
        *([Line2D([], [], color=_INTERACTION, **dot, label="interaction (×)")] if 2 in kinds else []),
        Line2D(
            [], [], color="0.3", **dot, markerfacecolor="white", linestyle="none", label="open: interval includes 0"
        ),
        Line2D([], [], color="0.3", marker="o", markersize=2.0, alpha=0.45, linestyle="none", label="a seed"),
    ]
