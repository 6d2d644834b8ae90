"""Effects of a factorial design as weighted sums of its cells.

With every factor crossed with every other, the least-squares estimate of a main effect is a mean of differences: the
level minus the baseline, averaged over all combinations of the other factors. An interaction of two factors is the
difference of two such effects: how many points more the one is worth where the other is set. (Some textbooks halve it.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conf.experiments import Experiment
from conf.factors import DesignCell, Factor
from conf.hypotheses import Against, Hypothesis, Over


@dataclass(frozen=True)
class Contrast:
    """`weights`: cell -> weight, cells of weight 0 left out. They sum to 0 for an effect; to 1 for a mean of cells,
    which is compared with what `against` names. `factors`: how many an effect has, 0 of a mean of cells."""

    title: str
    weights: Mapping[str, float]
    factors: int = 0
    against: Against | None = None


def effects(experiment: Experiment) -> tuple[Contrast, ...]:
    """The main effect of every level but the baselines, then the declared interactions: those that are listed and those
    that a hypothesis names, each once."""
    main = [_effect(experiment, [(f, level.name)], {}) for f in experiment.factors for level in f.levels[1:]]
    pairs = list(experiment.interactions)
    pairs += [tuple(map(Hypothesis.factor_of, h.effect)) for h in experiment.hypotheses if len(h.effect) == 2]
    once = dict.fromkeys(tuple(f.name for f in experiment.factors if f.name in pair) for pair in pairs)
    return (*main, *(contrast for pair in once for contrast in _interactions(experiment, pair)))


def _interactions(experiment: Experiment, pair: Sequence[str]) -> Iterator[Contrast]:
    first, second = (experiment.factor(name) for name in pair)
    for one in first.levels[1:]:
        for other in second.levels[1:]:
            yield _effect(experiment, [(first, one.name), (second, other.name)], {})


def of_hypothesis(experiment: Experiment, hypothesis: Hypothesis) -> tuple[Contrast, ...]:
    """What is compared on each of its tasks: one effect, or cells with a fixed value, together or each alone."""
    if hypothesis.effect:
        named = []
        for text in hypothesis.effect:
            factor, _, level = text.partition("=")
            named.append((experiment.factor(factor), level or experiment.factor(factor).levels[1].name))
        return (_effect(experiment, named, hypothesis.where),)
    assert hypothesis.against is not None
    cells = _where(experiment.cells, hypothesis.where)
    groups = [[cell] for cell in cells] if hypothesis.cells is Over.each else [cells]
    against = "chance" if hypothesis.against is Against.chance else "its ID accuracy"
    return tuple(
        Contrast(
            f"{_cells_title(experiment, group, hypothesis.where)} - {against}",
            {cell.name: 1 / len(group) for cell in group},
            against=hypothesis.against,
        )
        for group in groups
    )


def _cells_title(experiment: Experiment, cells: Sequence[DesignCell], where: Mapping[str, str]) -> str:
    if len(cells) == 1:
        return cells[0].title
    return f"mean of {len(cells)} cells{_condition(experiment, where)}"


def _where(cells: Sequence[DesignCell], where: Mapping[str, str]) -> list[DesignCell]:
    return [cell for cell in cells if all(cell.levels[factor] == level for factor, level in where.items())]


def _effect(experiment: Experiment, changed: Sequence[tuple[Factor, str]], where: Mapping[str, str]) -> Contrast:
    """The effect of a level against its factor's baseline, or the interaction of two, over the cells of `where`."""
    weights: dict[str, float] = {}
    for cell in _where(experiment.cells, where):
        sign = 1
        for factor, level in changed:
            sign *= {level: 1, factor.baseline.name: -1}.get(cell.levels[factor.name], 0)
        if sign:
            weights[cell.name] = float(sign)
    share = len(weights) / 2 ** len(changed)  # combinations of the other factors
    titles = [_level_title(factor, level) for factor, level in changed]
    return Contrast(
        " × ".join(titles) + _condition(experiment, where),
        {name: sign / share for name, sign in weights.items()},
        factors=len(changed),
    )


def _level_title(factor: Factor, name: str) -> str:
    return next(level.shown for level in factor.levels if level.name == name)


def _condition(experiment: Experiment, where: Mapping[str, str]) -> str:
    """` with Clip`, ` without Clip`: of which cells."""
    words = []
    for name, level in where.items():
        factor = experiment.factor(name)
        if level == factor.baseline.name and len(factor.levels) == 2:
            words.append(f"without {factor.levels[1].shown}")
        else:
            words.append(f"with {_level_title(factor, level)}")
    return f", {', '.join(words)}" if words else ""
