"""The league: ranks and means by hand, the test against scipy, a dot a seed, and what is missing stays missing."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.stats import ttest_rel

from eval.evidence.cells import collect
from eval.evidence.figures.style import SCREEN_DPI
from eval.evidence.league.figure import figure
from eval.evidence.league.standings import build
from eval.evidence.league.tables import caption, document, notes, numbers
from eval.evidence.table import csv_text, markdown
from posgen.errors import UserError
from tests.eval.made import with_metrics

TASKS = ("recursive", "cot", "semi_recursive")
# Seed by seed, the same on all tasks but for the task's own shift: means of 0.5, 0.8, 0.3.
OOD = {"rope": (0.49, 0.5, 0.51), "alibi": (0.8, 0.77, 0.83), "resonance_rope": (0.3, 0.29, 0.31)}
SHIFT = {"recursive": 0.0, "cot": 0.1, "semi_recursive": -0.1}


@pytest.fixture
def league(record):
    """Three encodings on three tasks, `fire` on two of them; a seed of RoPE diverged on CoT."""
    made = [
        record(task, pe, seed, value + SHIFT[task])
        for task in TASKS
        for pe, values in OOD.items()
        for seed, value in enumerate(values)
    ]
    made += [record(task, "fire", seed, 0.9) for task in TASKS[:2] for seed in range(3)]
    return [*made, record("cot", "rope", 3, ood=None)]


def test_ranks_follow_the_mean_over_tasks(league):
    entries = {entry.pe: entry for entry in build(collect(league)).entries["paper"]}
    assert list(entries) == ["alibi", "rope", "resonance_rope", "fire"]
    assert [entry.rank for entry in entries.values()] == [1, 2, 3, None]
    means = [entries[pe].mean for pe in ("alibi", "rope", "resonance_rope")]
    assert means == pytest.approx([80.0, 50.0, 30.0])
    assert entries["fire"].mean is None
    ood = entries["alibi"].places["cot"].ood
    assert ood is not None
    assert (ood.mean, ood.std, ood.n) == (pytest.approx(90.0), pytest.approx(np.std([80, 77, 83], ddof=1)), 3)


def test_equal_means_share_a_rank(record):
    made = [record(task, pe, seed, 0.5) for task in TASKS for pe in ("rope", "alibi") for seed in (1, 2)]
    made += [record(task, "fire", seed, 0.4) for task in TASKS for seed in (1, 2)]
    assert [entry.rank for entry in build(collect(made)).entries["paper"]] == [1, 1, 3]


def test_differences_to_the_first_are_paired_over_seeds_and_corrected(league):
    entries = {entry.pe: entry for entry in build(collect(league)).entries["paper"]}
    raw = [ttest_rel(OOD["alibi"], OOD[pe]).pvalue for pe in ("rope", "resonance_rope")]
    low, high = sorted(raw)
    adjusted = {low: min(1.0, 2 * low), high: max(2 * low, high)}  # Holm with two
    for pe, p in zip(("rope", "resonance_rope"), raw, strict=True):
        assert entries[pe].p == pytest.approx(adjusted[p])
    assert entries["alibi"].p is None


def test_the_statement_comes_from_the_records(league, record):
    words = "\n".join(notes(build(collect(league))))
    assert "(3 seeds per encoding): 2 of the 2 others differ significantly from ALiBi" in words
    assert "No rank under paper, because a task is missing: FIRE (Semi-recursive)" in words
    assert "Diverged under paper, not part of the means: CoT RoPE (seed 3)" in words
    one_seed = [r for r in league if r.seed == 0]
    words = "\n".join(notes(build(collect(one_seed))))
    assert "(1 seed per encoding): 0 of the 2 others differ" in words
    assert "2 cannot be tested" in words


def test_what_resonance_changes_is_paired_within_seeds(record):
    """Two pairs on two tasks: Resonance gains 1, 2, 3 points in one pair and loses 5 in the other."""
    gain = {"resonance_rope": (0.01, 0.02, 0.03), "resonance_yarn": (-0.05, -0.05, -0.05)}
    made = [
        record(task, pe, seed, 0.5 + gain.get(pe, (0, 0, 0))[seed])
        for task in TASKS[:2]
        for pe in ("rope", "resonance_rope", "yarn", "resonance_yarn", "alibi")
        for seed in range(3)
    ]
    (told,) = (note for note in notes(build(collect(made))) if note.startswith("Resonance"))
    low, high = ttest_rel([-2, -1.5, -1], [0, 0, 0]).confidence_interval()
    assert told.startswith(f"Resonance minus plain form under paper: -1.50 [{low:+.2f}, {high:+.2f}] points")
    assert "2 pairs and 2 tasks" in told
    assert "higher mean in 2 of 4 pairs" in told


def test_who_is_wrong_within_the_training_length_is_named(league):
    """ID accuracy is 87.5 % throughout; ALiBi falls to 40 % on CoT, less than half of that."""
    assert "Not learned" not in "\n".join(notes(build(collect(league))))
    made = [
        with_metrics(r, id_accuracy=0.4, ood_accuracy=0.8) if (r.task, r.pe) == ("cot", "alibi") else r for r in league
    ]
    (told,) = (note for note in notes(build(collect(made))) if note.startswith("Not learned"))
    assert told.endswith("nothing about extrapolation: CoT (best 87.5 %): ALiBi (40.0 %).")


def test_the_sizes_are_told_from_the_configuration(league):
    made = build(collect(league))
    assert caption(made).endswith("Profile quick (synthetic numbers_only); sizes are not the paper's.")
    assert "| modulus | 7 | 17 |" in markdown(document(made))


def test_the_table_in_markdown_and_csv(league):
    found = build(collect(league))
    text = markdown(document(found))
    assert "| paper | 2 | RoPE | 50.00 |" in text
    assert "87.50 | 60.00 ± 1.00 | 3/4 |" in text  # CoT, one of four seeds diverged
    assert text.count("| — | — | 0 |") == 1  # FIRE on the semi-recursive task
    lines = list(csv.DictReader(io.StringIO(csv_text(numbers([found])))))
    assert len(lines) == 4 * 3
    (missing,) = [line for line in lines if line["pe"] == "fire" and line["task"] == "semi_recursive"]
    assert (missing["rank"], missing["ood_accuracy_percent"], missing["n"]) == ("", "", "0")
    (lost,) = [line for line in lines if line["n_diverged"] == "1"]
    assert (lost["pe"], lost["task"], lost["seeds"]) == ("rope", "cot", "0 1 2")


def test_the_figure_has_a_dot_a_seed_in_the_order_of_the_ranks(league):
    drawn = figure(build(collect(league)), "paper")
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["ALiBi", "RoPE (1 diverged)", "Resonance RoPE", "FIRE (1 missing)"]
    for panel, task in zip(drawn.axes, TASKS, strict=True):
        chance = next(line for line in panel.lines if line.get_linestyle() != "None")
        assert np.asarray(chance.get_xdata())[0] == pytest.approx(100 / 7)
        seeds = {
            round(float(np.asarray(line.get_ydata())[0])): np.asarray(line.get_xdata()).tolist()
            for line in panel.lines
            if line.get_linestyle() == "None" and len(np.asarray(line.get_xdata())) == 3
        }
        for row, pe in enumerate(("alibi", "rope", "resonance_rope")):
            assert seeds[row] == pytest.approx([100 * (value + SHIFT[task]) for value in OOD[pe]])
    words = "\n".join(text.get_text() for text in drawn.findobj(Text))
    assert "synthetic numbers_only" in words


@pytest.mark.parametrize("tasks", [TASKS, TASKS[:1]])
def test_names_of_any_length_stay_inside_the_figure(record, tasks):
    made = [record(task, "resonance_randomized", seed, 0.5) for task in TASKS for seed in (1, 2)]
    drawn = figure(build(collect([r for r in made if r.task in tasks])), "paper")
    for dpi in (100, SCREEN_DPI):
        drawn.set_dpi(dpi)
        drawn.draw_without_rendering()
        assert min(label.get_window_extent().x0 for label in drawn.axes[0].get_yticklabels()) >= 0


def test_a_league_without_a_finished_run_is_a_clear_error(record):
    found = build(collect([record(ood=None)]))
    with pytest.raises(UserError, match="protocol=paper: no finished run in the league"):
        figure(found, "paper")
