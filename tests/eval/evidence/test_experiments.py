"""Declared experiments judged: effects against least squares of the whole design, adjustments against closed testing,
verdicts on records made so, and the committed experiment with p-RoPE judged again."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats
from msgspec import structs

from conf.experiments import Experiment
from eval.evidence.experiment.contrasts import effects, of_hypothesis
from eval.evidence.experiment.figure import alt, figure
from eval.evidence.experiment.judge import Judged, Outcome, judge
from eval.evidence.experiment.measured import ALL, estimate, measured
from eval.evidence.experiment.power import LIKELY, power
from eval.evidence.experiment.tables import cells_table, document, effects_table, latex_text, numbers
from eval.evidence.figures.style import render
from eval.evidence.statistics import Difference, no_lower, no_lower_power, paired_t
from eval.evidence.table import csv_text, markdown
from eval.store.kinds import AccuracyRecord, Declared
from eval.store.records import load
from posgen.errors import UserError
from tests.committed import results
from tests.declared import NODE, THREE_BASES, experiment
from tests.eval.made import with_metrics

Maker = Callable[..., AccuracyRecord]
SEEDS = (1, 2, 3)


def declared(**keys: Any) -> Experiment:
    """The small declaration, for profile quick, which made-up records have."""
    return experiment(**{"profiles": profile("quick", *SEEDS), **keys})


def profile(name: str, *seeds: int, **settings: Any) -> list[dict[str, Any]]:
    return [{"name": name, "seeds": list(seeds), "settings": settings}]


def records_of(
    made: Experiment, record: Maker, accuracy: Callable[[str, str, int], float | None], seeds: tuple[int, ...] = SEEDS
) -> list[AccuracyRecord]:
    """A record of every cell, task and seed, with OOD accuracy (cell, task, seed) as a fraction, None: diverged."""
    ref = Declared(made.name, made.digest)
    return [
        record(task, cell.name, seed, accuracy(cell.name, task, seed), experiment=ref)
        for cell in made.cells
        for task in made.tasks
        for seed in seeds
    ]


def judged(made: Experiment, records: list[AccuracyRecord]) -> Judged:
    return judge(measured(made, records, "here"))


def random_accuracy(seed: int) -> Callable[[str, str, int], float]:
    drawn: dict[tuple[str, str, int], float] = {}
    generator = np.random.default_rng(seed)
    return lambda *place: drawn.setdefault(place, float(generator.uniform(0.1, 0.9)))


def test_effects_are_the_least_squares_estimates_of_the_full_factorial_model(record: Maker) -> None:
    """With levels coded -1/2 and 1/2 and all products, a coefficient is a main effect or an interaction."""
    third = {"name": "base", "levels": THREE_BASES["levels"][:2]}
    made = declared(factors=[*NODE["factors"], third],
                    interactions=[["p_rope", "base"], ["resonance", "p_rope"], ["resonance", "base"]])  # fmt: skip
    records = records_of(made, record, random_accuracy(0))
    numbers_of = measured(made, records, "here")
    names = [factor.name for factor in made.factors]
    baselines = {factor.name: factor.levels[0].name for factor in made.factors}
    coded = np.array([[0.5 - (c.levels[name] == baselines[name]) for name in names] for c in made.cells])
    subsets = [s for size in range(4) for s in itertools.combinations(range(3), size)]
    design = np.column_stack([coded[:, list(s)].prod(axis=1) for s in subsets])
    ood = {(r.pe, r.task, r.seed): 100 * (r.ood_accuracy or 0.0) for r in records}
    wanted = [(0,), (1,), (2,), (0, 2), (0, 1), (1, 2)]
    contrasts = effects(made)
    assert [c.title for c in contrasts] == [
        "p-RoPE", "Resonance", "base_64", "p-RoPE × base_64", "p-RoPE × Resonance", "Resonance × base_64",
    ]  # fmt: skip
    for contrast, subset in zip(contrasts, wanted, strict=True):
        for task in made.tasks:
            fitted = [
                np.linalg.lstsq(design, np.array([ood[c.name, task, seed] for c in made.cells]), rcond=None)[0]
                for seed in SEEDS
            ]
            found = estimate(numbers_of, contrast, task)
            assert found.values == pytest.approx([coefficients[subsets.index(subset)] for coefficients in fitted])
            oracle = scipy.stats.ttest_1samp(found.values, 0.0)
            assert found.difference is not None
            low, high = oracle.confidence_interval(0.95)
            assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
            assert found.difference.p == pytest.approx(oracle.pvalue)


def test_effects_of_a_factor_with_three_levels_by_loops(record: Maker) -> None:
    made = declared(
        factors=[*NODE["factors"], THREE_BASES],
        hypotheses=[
            {"name": "main", "claim": "x", "effect": ["base=base_500"], "direction": "higher"},
            {"name": "part", "claim": "x", "effect": ["resonance"], "direction": "higher",
             "where": {"p_rope": "p_rope", "base": "base_64"}},
            {"name": "both", "claim": "x", "effect": ["base=base_64", "p_rope"], "direction": "higher"},
            {"name": "rest", "claim": "x", "against": "chance", "where": {"p_rope": "p_rope"}, "direction": "higher"},
            {"name": "mean", "claim": "x", "effect": ["p_rope"], "direction": "higher", "over": "mean"},
        ],
    )  # fmt: skip
    accuracy = random_accuracy(1)
    found = {
        (c.hypothesis.name, c.estimate.task): c.estimate.values
        for c in judged(made, records_of(made, record, accuracy)).comparisons
    }

    def of(p: int, r: int, b: int, task: str, seed: int) -> float:
        parts = [("", "p_rope")[p], ("", "resonance")[r], ("", "base_64", "base_500")[b]]
        return 100 * accuracy("+".join(filter(None, parts)) or "rope", task, seed)

    for task in made.tasks:
        for i, seed in enumerate(SEEDS):
            main, both, rest = [], [], []
            for r in (0, 1):
                main += [of(p, r, 2, task, seed) - of(p, r, 0, task, seed) for p in (0, 1)]
                both.append(
                    (of(1, r, 1, task, seed) - of(0, r, 1, task, seed))
                    - (of(1, r, 0, task, seed) - of(0, r, 0, task, seed))
                )
                rest += [of(1, r, b, task, seed) - 100 / 7 for b in (0, 1, 2)]  # made-up records have modulus 7
            part = of(1, 1, 1, task, seed) - of(1, 0, 1, task, seed)
            for name, value in (
                ("main", np.mean(main)),
                ("part", part),
                ("both", np.mean(both)),
                ("rest", np.mean(rest)),
            ):
                assert found[name, task][i] == pytest.approx(value)
    for i, seed in enumerate(SEEDS):
        everywhere = [
            of(1, r, b, task, seed) - of(0, r, b, task, seed) for task in made.tasks for r in (0, 1) for b in (0, 1, 2)
        ]
        assert found["mean", ALL][i] == pytest.approx(np.mean(everywhere))


def test_a_mean_against_the_id_accuracy_of_the_same_models(record: Maker) -> None:
    made = declared(hypotheses=[
        {"name": "H", "claim": "x", "against": "id_accuracy", "cells": "each", "direction": "not_lower", "margin": 2}
    ])  # fmt: skip
    records = [with_metrics(r, id_accuracy=0.5 + 0.01 * r.seed) for r in records_of(made, record, lambda *_: 0.6)]
    comparisons = judged(made, records).comparisons
    assert len(comparisons) == 8  # four cells on two tasks
    assert all(c.estimate.values == pytest.approx([9.0, 8.0, 7.0]) for c in comparisons)
    assert {c.outcome for c in comparisons} == {Outcome.held}


def closed_testing(p_values: list[float]) -> list[float]:
    """Holm by its definition as a closed test: the largest Bonferroni p of all sets of hypotheses that hold one."""
    size = len(p_values)
    adjusted = []
    for i in range(size):
        sets = [s for k in range(1, size + 1) for s in itertools.combinations(range(size), k) if i in s]
        adjusted.append(max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets))
    return adjusted


def test_the_adjustment_spans_all_comparisons_and_each_kind_of_test_alone(record: Maker) -> None:
    made = declared(hypotheses=[
        {"name": "H1", "claim": "x", "effect": ["p_rope"], "direction": "higher", "margin": 30},
        {"name": "H2", "claim": "x", "effect": ["resonance"], "direction": "equal", "margin": 40},
        {"name": "H3", "claim": "x", "effect": ["p_rope", "resonance"], "direction": "lower"},
    ])  # fmt: skip
    comparisons = judged(made, records_of(made, record, random_accuracy(3))).comparisons
    assert len(comparisons) == 6
    raw = [float(scipy.stats.ttest_1samp(c.estimate.values, 0.0).pvalue) for c in comparisons]
    assert [c.p_adjusted for c in comparisons] == pytest.approx(closed_testing(raw))
    # Two one-sided tests of four comparisons; the two without a margin still count as tests of the family.
    margins = []
    for c in comparisons[:4]:
        assert c.hypothesis.margin is not None
        sides = (
            scipy.stats.ttest_1samp(c.estimate.values, -c.hypothesis.margin, alternative="greater").pvalue,
            scipy.stats.ttest_1samp(c.estimate.values, c.hypothesis.margin, alternative="less").pvalue,
        )
        margins.append(float(max(sides)))
    assert [c.p_margin for c in comparisons[:4]] == pytest.approx(margins)
    assert [c.p_margin_adjusted for c in comparisons[:4]] == pytest.approx(closed_testing([*margins, 1.0, 1.0])[:4])
    assert [c.p_margin_adjusted for c in comparisons[4:]] == [None, None]


NOISE = {1: -0.001, 2: 0.0, 3: 0.001}


def shifted(by: Mapping[str, float], noise: float = 1.0) -> Callable[[str, str, int], float]:
    """Accuracy 0.5, and so much more where a part of the cell's name says so; noise that differs between the levels."""

    def accuracy(cell: str, task: str, seed: int) -> float:
        parts = cell.split("+")
        share = 1 + 2 * ("p_rope" in parts) + 3 * ("resonance" in parts)
        return 0.5 + sum(by.get(part, 0.0) for part in parts) + noise * NOISE[seed] * share

    return accuracy


@pytest.mark.parametrize(
    ("direction", "margin", "effect", "noise", "outcome"),
    [
        ("higher", None, 0.2, 1.0, "held"),
        ("higher", None, -0.2, 1.0, "refuted"),
        ("higher", None, 0.0, 1.0, "undecided"),
        ("higher", None, 0.02, 30.0, "undecided"),
        ("higher", 2, 0.0, 1.0, "refuted"),  # shown to be next to nothing
        ("higher", 2, 0.01, 0.2, "held"),  # next to nothing, but above it
        ("lower", None, -0.2, 1.0, "held"),
        ("lower", None, 0.2, 1.0, "refuted"),
        ("equal", 2, 0.0, 1.0, "held"),
        ("equal", 2, 0.2, 1.0, "refuted"),
        ("equal", 2, 0.0, 60.0, "undecided"),
        ("not_lower", 2, 0.2, 1.0, "held"),
        ("not_lower", 2, 0.0, 1.0, "held"),
        ("not_lower", 2, -0.2, 1.0, "refuted"),
        ("not_lower", 2, -0.01, 60.0, "undecided"),
    ],
)
def test_verdicts(
    record: Maker, direction: str, margin: float | None, effect: float, noise: float, outcome: str
) -> None:
    hypothesis = {"name": "H", "claim": "x", "effect": ["p_rope"], "direction": direction}
    made = declared(hypotheses=[hypothesis | ({} if margin is None else {"margin": margin})])
    (verdict,) = judged(made, records_of(made, record, shifted({"p_rope": effect}, noise))).verdicts
    assert verdict.outcome == outcome
    assert {c.outcome for c in verdict.comparisons} == {Outcome(outcome)}


def test_one_task_against_it_refutes_and_one_undecided_leaves_it_open(record: Maker) -> None:
    made = declared()

    def by_task(other: float, noise: float) -> Callable[[str, str, int], float]:
        one, two = shifted({"p_rope": 0.2}), shifted({"p_rope": other}, noise)
        return lambda cell, task, seed: (one if task == "cot" else two)(cell, task, seed)

    for other, noise, outcome in ((-0.2, 1.0, "refuted"), (0.0, 1.0, "undecided"), (0.2, 1.0, "held")):
        (verdict,) = judged(made, records_of(made, record, by_task(other, noise))).verdicts
        assert verdict.outcome == outcome


def test_nothing_is_judged_before_all_seeds_are_there_and_what_is_missing_is_named(record: Maker) -> None:
    made = declared()
    records = records_of(made, record, shifted({"p_rope": 0.2}))
    whole = judged(made, records)
    assert whole.verdicts[0].outcome is Outcome.held
    partial = judged(made, [r for r in records if (r.pe, r.task, r.seed) != ("p_rope+resonance", "cot", 2)])
    assert partial.verdicts[0].outcome is Outcome.incomplete
    by_task = {c.estimate.task: c for c in partial.comparisons}
    assert (by_task["cot"].outcome, by_task["cot"].estimate.missing) == (Outcome.incomplete, (2,))
    assert by_task["recursive"].outcome is Outcome.held
    text = markdown(document(partial))
    assert (
        "Missing: 1 of 24 tests (CoT: p-RoPE + Resonance (seed 2)); `posgen experiment run tiny --profile quick`"
        in text
    )
    no_cot = judged(made, [r for r in records if r.task != "cot"])
    assert "Missing: 12 of 24 tests (CoT: all cells);" in markdown(document(no_cot))
    assert no_cot.verdicts[0].outcome is Outcome.incomplete


def test_what_diverged_is_left_out_and_told(record: Maker) -> None:
    made = declared(profiles=profile("quick", 1, 2, 3, 4))

    def accuracy(cell: str, task: str, seed: int) -> float | None:
        return None if (cell, task, seed) == ("rope", "cot", 4) else shifted({"p_rope": 0.2})(cell, task, min(seed, 3))

    found = judged(made, records_of(made, record, accuracy, (1, 2, 3, 4)))
    cot = next(c for c in found.comparisons if c.estimate.task == "cot")
    assert (cot.estimate.seeds, cot.estimate.diverged, cot.estimate.missing) == ((1, 2, 3), (4,), ())
    assert found.verdicts[0].outcome is Outcome.held
    assert "which favours what diverged: RoPE on CoT (seed 4)." in markdown(document(found))
    gone = judged(made, records_of(made, record, lambda *_: None, (1, 2, 3, 4)))
    assert gone.verdicts[0].outcome is Outcome.undecided


def test_models_that_agree_to_the_last_digit_are_equal_and_not_above(record: Maker) -> None:
    same = [{"name": "E", "claim": "x", "effect": ["p_rope"], "direction": "equal", "margin": 1},
            {"name": "H", "claim": "x", "effect": ["p_rope"], "direction": "higher"}]  # fmt: skip
    made = declared(hypotheses=same)
    found = judged(made, records_of(made, record, lambda *_: 1.0))
    assert [v.outcome for v in found.verdicts] == [Outcome.held, Outcome.undecided]
    # The spread of rounding: 1,000 sequences of 192 tokens beyond L, two cells with either level, half a weight each.
    error = 100 / 192_000 * math.sqrt(4 * 0.25 / 12) / math.sqrt(3)
    equal = found.verdicts[0].comparisons[0]
    assert equal.p_margin == pytest.approx(scipy.stats.t.sf(1 / error, 2))
    apart = judged(made, records_of(made, record, lambda cell, *_: 0.75 if "p_rope" in cell else 0.5))
    assert [v.outcome for v in apart.verdicts] == [Outcome.undecided, Outcome.undecided]  # no spread to test against


def test_seeds_beyond_the_declared_ones_count_nowhere(record: Maker) -> None:
    made = declared()
    accuracy = shifted({"p_rope": 0.2})
    further = records_of(made, record, lambda *_: 0.0, (9,))
    found = judged(made, [*records_of(made, record, accuracy), *further])
    assert found.effects == judged(made, records_of(made, record, accuracy)).effects
    assert "Measured with seeds that are not declared, which count nowhere: seed 9." in markdown(document(found))


def test_a_profile_that_is_not_declared_is_judged_by_its_own_seeds_and_says_so(record: Maker) -> None:
    made = experiment()  # profile smoke
    found = judged(made, records_of(made, record, shifted({})))
    assert not found.measured.declared
    assert "This profile is not declared: what it shows decides nothing." in markdown(document(found))


def test_records_of_another_declaration_are_refused(record: Maker) -> None:
    made, edited = declared(), declared(question="What if it is asked otherwise afterwards?")
    records = records_of(made, record, shifted({}))
    with pytest.raises(UserError, match=f"declaration {made.digest} of tiny, and it is {edited.digest} now; restore"):
        measured(edited, records, "here")
    with pytest.raises(UserError, match="here: holds records of no declared experiment, not of tiny"):
        measured(made, [structs.replace(r, experiment=None) for r in records], "here")
    other = Declared("other", made.digest)
    with pytest.raises(UserError, match="holds records of experiment other, not of tiny"):
        measured(made, [structs.replace(r, experiment=other) for r in records], "here")
    with pytest.raises(UserError, match="holds yarn on cot, which tiny does not declare"):
        measured(made, [structs.replace(records[-1], pe="yarn")], "here")


def test_the_committed_experiment_with_p_rope_comes_out_as_written_then(record: Maker) -> None:
    """docs/declared.md, "Clip at the published sizes": the records as a two by two design, numbers from its table."""
    seeds = [42, 49, 3701, 4955, 5549]
    hypotheses = [
        {"name": "H1", "claim": "x", "effect": ["p_rope"], "where": {"resonance": "unrounded"}, "direction": "higher"},
        {"name": "H2", "claim": "x", "effect": ["resonance"], "where": {"p_rope": "p_rope"}, "direction": "equal",
         "margin": 2},
    ]  # fmt: skip
    made = experiment(
        tasks=["recursive", "cot", "semi_recursive"], profiles=profile("paper", *seeds), hypotheses=hypotheses
    )
    cells = {"rope": "rope", "resonance_rope": "resonance", "p_rope": "p_rope", "resonance_p_rope": "p_rope+resonance"}
    records = [
        structs.replace(
            r, pe=cells[r.pe], protocols=("paper",), profile="paper", experiment=Declared("tiny", made.digest)
        )
        for folder in ("paper", "paper/clip")
        for r in load(results() / folder / "records.jsonl")
        if r.pe in cells and "paper" in r.protocols
    ]
    found = {(c.hypothesis.name, c.estimate.task): c for c in judged(made, records).comparisons}
    for name, task, mean, low, high, p, holm in (
        ("H1", "recursive", 17.42, 7.76, 27.09, 0.007, 0.037),
        ("H1", "cot", 16.67, 8.48, 24.85, 0.005, 0.029),
        ("H1", "semi_recursive", 10.12, 3.13, 17.12, 0.016, 0.064),
        ("H2", "recursive", 0.20, -1.26, 1.66, 0.728, 1.0),
        ("H2", "cot", -0.05, -0.54, 0.44, 0.793, 1.0),
        ("H2", "semi_recursive", 15.61, 4.10, 27.12, 0.020, 0.064),
    ):
        comparison = found[name, task]
        difference = comparison.estimate.difference
        assert isinstance(difference, Difference)
        assert (difference.mean, difference.low, difference.high) == pytest.approx((mean, low, high), abs=0.0051)
        assert (difference.p, comparison.p_adjusted) == pytest.approx((p, holm), abs=0.00051)


def test_what_is_not_lower_is_scipys_one_sided_test() -> None:
    values = [-0.4, 0.3, -0.1, 0.6, -0.9]
    difference = paired_t(values)
    assert difference is not None
    oracle = scipy.stats.ttest_1samp(values, -1.5, alternative="greater").pvalue
    assert no_lower(difference, 1.5) == pytest.approx(oracle, rel=1e-9)
    assert no_lower(Difference(0.0), 1.0) is None


@pytest.mark.parametrize("true", [0.0, -0.7, 2.0])
def test_the_power_of_not_lower_is_that_of_the_noncentral_t(true: float) -> None:
    error, freedom, margin, alpha = 0.8, 4.0, 2.0, 0.01
    bound = scipy.stats.t.ppf(1 - alpha, freedom)
    expected = scipy.stats.nct.sf(bound, freedom, (true + margin) / error)
    assert no_lower_power(error, freedom, true, margin, alpha) == pytest.approx(expected, abs=2e-4)


def test_the_power_of_a_declaration_is_that_of_the_noncentral_t() -> None:
    made = declared(profiles=profile("quick", *range(8)), rule={"std_points": 6.0, "effect_points": 12.0})
    (found,) = power(made, made.profiles[0])  # two comparisons
    error, alpha = 6.0 / math.sqrt(8), 0.05 / 2

    def chance(true: float) -> float:
        bound = scipy.stats.t.ppf(1 - alpha / 2, 7)
        return float(scipy.stats.nct.sf(bound, 7, true / error) + scipy.stats.nct.cdf(-bound, 7, true / error))

    assert found.power == pytest.approx(chance(12.0), abs=2e-4)
    assert found.smallest is not None
    assert chance(found.smallest) == pytest.approx(LIKELY, abs=2e-3)


def test_a_hypothesis_has_the_contrasts_that_it_names() -> None:
    each = {"name": "C", "claim": "x", "against": "chance", "cells": "each", "direction": "equal", "margin": 1}
    made = declared(hypotheses=[each])
    contrasts = of_hypothesis(made, made.hypotheses[0])
    assert [c.title for c in contrasts] == [
        "RoPE - chance", "Resonance - chance", "p-RoPE - chance", "p-RoPE + Resonance - chance"
    ]  # fmt: skip
    assert [dict(c.weights) for c in contrasts] == [{cell.name: 1.0} for cell in made.cells]


def test_tables_csv_latex_and_figure_show_the_same_numbers(record: Maker) -> None:
    made = declared(interactions=[["p_rope", "resonance"]])
    found = judged(made, records_of(made, record, shifted({"p_rope": 0.2})))
    rows = list(csv.DictReader(io.StringIO(csv_text(numbers(found)))))
    kinds = [row["kind"] for row in rows]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "hypothesis": 1, "comparison": 2, "effect": 9, "cell": 8
    }  # fmt: skip
    effect = next(r for r in rows if (r["kind"], r["contrast"], r["task"]) == ("effect", "p-RoPE", "cot"))
    values = [float(value) for value in effect["values"].split()]
    assert float(effect["mean"]) == pytest.approx(np.mean(values), abs=1e-5)
    assert float(effect["std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert (effect["digest"], effect["seeds"], effect["n"]) == (made.digest, "1 2 3", "3")
    shown = effects_table(found)
    assert [c.title for c in shown.columns] == ["Effect", "Recursive", "CoT", "All tasks"]
    assert shown.rows[0][2].text is not None
    assert shown.rows[0][2].text.startswith(f"{float(effect['mean']):+.1f} [")
    assert shown.rows[0][2].strong
    assert cells_table(found).rows[0][0].value == "RoPE"
    assert latex_text(found).count(r"\begin{table*}") == 3
    assert "synthetic numbers\\_only" in latex_text(found)
    drawn = figure(found)
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert [label.replace("\n", " ") for label in labels] == ["p-RoPE", "Resonance", "p-RoPE × Resonance"]
    assert [panel.get_title() for panel in drawn.axes] == ["Recursive", "CoT", "All tasks"]
    assert render(drawn, "svg") == render(figure(found), "svg")
    assert "p-RoPE on Recursive +20" in alt(found)


def test_without_a_whole_seed_there_is_no_figure(record: Maker) -> None:
    made = declared()
    found = judged(made, records_of(made, record, shifted({}))[:3])
    with pytest.raises(UserError, match="no effect has the records of a whole seed"):
        figure(found)
