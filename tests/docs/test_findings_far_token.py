"""The section on tasks that need their far token of docs/findings.md, its part at the published width."""

from __future__ import annotations

import functools
from statistics import mean, stdev

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, quoted, section

SECTION = section("What if a model cannot do without the far token?")
WORDS = " ".join(SECTION.split())
HIDDEN = ("recursive_hidden", "cot_hidden", "semi_recursive_hidden")
CELLS = {
    "RoPE": "rope",
    "Resonance RoPE": "resonance_rope",
    "Clip": "clip",
    "Clip + Resonance": "clip+resonance_rope",
    "YaRN at test time": "yarn",
    "Resonance YaRN at test time": "yarn+resonance_rope",
}


@functools.cache
def records() -> list[AccuracyRecord]:
    return load(results() / "paper/experiments/far_token/records.jsonl")


def cell(task: str, pe: str) -> list[AccuracyRecord]:
    """One record a seed, in the order of the seeds."""
    own = [r for r in records() if (r.task, r.test_encoding.partition("~")[0]) == (task, pe)]
    assert len({r.seed for r in own}) == len(own) == 5
    return sorted(own, key=lambda r: r.seed)


def points(task: str, pe: str, metric: str = "ood_accuracy") -> list[float]:
    return [100 * getattr(r, metric) for r in cell(task, pe)]


def comparisons(hypothesis: str) -> list[dict[str, str]]:
    rows = csv_rows("paper/experiments/far_token/far_token.csv")
    return [r for r in rows if (r["kind"], r["hypothesis"]) == ("comparison", hypothesis)]


def test_the_table_and_what_was_judged() -> None:
    for title, pe in CELLS.items():
        values = [points(task, pe, metric) for task in HIDDEN for metric in ("id_accuracy", "ood_accuracy")]
        assert f"| {title} | {' | '.join(f'{mean(v):.2f} ± {stdev(v):.2f}' for v in values)} |" in SECTION
    assert len(quoted(SECTION, "paper", "far_token")) == 5
    assert "far_token --device cuda`: 60 trainings, 90 tests" in WORDS
    assert (len({r.run_id for r in records()}), len(records())) == (60, 90)
    assert {r.training.optim.epochs for r in records()} == {75}
    best = [f"{mean(points(task, pe)):.0f}" for pe in ("clip", "rope") for task in ("cot_hidden", "recursive_hidden")]
    assert "clip {} and {} %, RoPE {} and {} %".format(*best) in WORDS
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"clip {best[1]} to {best[0]} %, RoPE {best[3]} to {best[2]} %" in readme


def test_what_is_learned() -> None:
    trained = [r for task in HIDDEN for pe in CELLS.values() if "yarn" not in pe for r in cell(task, pe)]
    assert {f"{100 * r.id_accuracy:.2f}" for r in trained if r.id_accuracy is not None} == {"100.00"}
    latest = max(r.checkpoint_epoch or 0 for r in trained)
    assert f"All {len(trained)} models are right at 100.00 % within 64 tokens by epoch {latest}" in WORDS


def test_clip_yarn_and_resonance() -> None:
    gains = [
        a - b
        for task in HIDDEN[:2]
        for pe in ("clip", "yarn")
        for a, b in zip(points(task, pe), points(task, "rope"), strict=True)
    ]
    assert f"in every seed, by {min(gains):.2f} to {max(gains):.2f} points" in WORDS
    alone = points("recursive_hidden", "rope") + points("cot_hidden", "rope")
    assert f"lie between {min(alone):.2f} and {max(alone):.2f} %" in WORDS
    h1_and_h2 = [float(r["p_holm"]) for name in ("H1", "H2") for r in comparisons(name)]
    assert f"(p after Holm {min(h1_and_h2):.3f} to {max(h1_and_h2):.3f})" in WORDS
    assert {f"{value:.2f}" for pe in ("clip", "yarn") for value in points("cot_hidden", pe)} == {"100.00"}
    h3 = {r["task"]: r for r in comparisons("H3")}
    cost = h3["recursive_hidden"]
    told = f"costs RoPE {-float(cost['mean']):.2f} points on the recursive task [{float(cost['low']):.2f}, "
    assert f"{told}{float(cost['high']):.2f}], in every seed" in WORDS
    paired = zip(points("recursive_hidden", "resonance_rope"), points("recursive_hidden", "rope"), strict=True)
    assert all(a < b for a, b in paired)
    assert [h3["cot_hidden"]["outcome"], *(r["outcome"] for r in comparisons("H4"))] == ["held"] * 3


def test_the_moving_far_token() -> None:
    def by_position(pe: str, *tokens: int) -> list[str]:
        curves = [r.accuracy_by_position for r in cell("semi_recursive_hidden", pe)]
        assert all(curves)
        return [f"{100 * mean(curve[token] or 0 for curve in curves if curve):.1f}" for token in tokens]

    told = "RoPE is right at {} % of token 63, {} % of token 64, {}, {} and {} % of the next three"
    assert told.format(*by_position("rope", 63, 64, 65, 66, 67)) in WORDS
    assert "clip at {}, {}, {} and {} %".format(*by_position("clip", 64, 65, 66, 67)) in WORDS
    assert all(float(by_position(pe, 67)[0]) < 7 for pe in CELLS.values() if "yarn" not in pe)
    above = [float(r["mean"]) for r in comparisons("H5")]
    assert f"all six cells are {min(above):.2f} to {max(above):.2f} points above chance" in WORDS
    most = max(value for pe in CELLS.values() for value in points("semi_recursive_hidden", pe))
    assert f"no seed exceeds {most:.2f} %" in WORDS
    assert f"({mean(points('semi_recursive_hidden', 'yarn', 'id_accuracy')):.2f} %)" in WORDS
