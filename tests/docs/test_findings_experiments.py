"""Sections of docs/findings.md on declared experiments: tables as judged, sentences recomputed from records."""

from __future__ import annotations

import functools
import re
from statistics import mean, stdev

import pytest

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, quoted, section

FOLDER = results() / "quick" / "experiments" / "clip"
FOUR = {"RoPE": "rope", "Resonance RoPE": "resonance", "Clip": "clip", "Clip + Resonance": "clip+resonance"}
HIDDEN = ("recursive_hidden", "cot_hidden", "semi_recursive_hidden")


CLIP, FAR = section("Clip, Resonance, log n or the base?"), section("What if a model cannot do without the far token?")
CLIP_WORDS, FAR_WORDS = " ".join(CLIP.split()), " ".join(FAR.split())


@functools.cache
def records() -> list[AccuracyRecord]:
    return load(FOLDER / "records.jsonl")


def of(task: str, pe: str) -> list[AccuracyRecord]:
    own = [r for r in records() if (r.task, r.test_encoding.partition("~")[0]) == (task, pe)]
    assert len({r.seed for r in own}) == len(own) == 8
    return own


def points(task: str, pe: str, metric: str = "ood_accuracy") -> list[float]:
    return [100 * getattr(r, metric) for r in of(task, pe)]


@functools.cache
def judged() -> list[dict[str, str]]:
    """What `posgen experiment judge` found; tests/results judges again."""
    return csv_rows("quick/experiments/clip/clip.csv")


def comparisons(hypothesis: str, task: str = "") -> list[dict[str, str]]:
    rows = [row for row in judged() if (row["kind"], row["hypothesis"]) == ("comparison", hypothesis)]
    return [row for row in rows if task in ("", row["task"])]


def test_what_was_judged_is_quoted() -> None:
    assert len(quoted(CLIP, "quick", "clip")) == 5 + 2 + 8  # hypotheses, the head of a table, effects
    assert "posgen experiment run clip --profile quick`: 384 trainings, 768 tests" in CLIP_WORDS
    assert (len({r.run_id for r in records()}), len(records())) == (384, 768)


def test_clip_at_narrow() -> None:
    assert len(quoted(CLIP, "narrow", "clip")) == 5
    measured: list[AccuracyRecord] = load(results() / "narrow/experiments/clip/records.jsonl")
    assert (len({r.run_id for r in measured}), len(measured)) == (240, 480)
    assert "profile narrow --device cuda`: 240 trainings, 480 tests" in CLIP_WORDS

    def cell(task: str, pe: str, metric: str = "ood_accuracy") -> list[float]:
        own = [r for r in measured if (r.task, r.test_encoding.partition("~")[0]) == (task, pe)]
        assert len(own) == 5
        return [100 * getattr(r, metric) for r in own]

    rows = [r for r in csv_rows("narrow/experiments/clip/clip.csv") if r["kind"] == "comparison"]
    h1 = {r["task"]: r for r in rows if r["hypothesis"] == "H1"}
    decided = ["recursive", "recursive_hidden", "cot"]
    assert {task for task, r in h1.items() if r["outcome"] == "held"} == set(decided)
    gains = [float(h1[task]["mean"]) for task in decided]
    assert f"{min(gains):.1f} to {max(gains):.1f} points each" in CLIP_WORDS
    shown = [f"{mean(cell(task, 'clip')):.2f} ± {stdev(cell(task, 'clip')):.2f}" for task in decided]
    plain = [f"{mean(cell(task, 'rope')):.2f}" for task in decided]
    assert "stand at {}, {} and {} %, with RoPE at {}, {} and {} %".format(*shown, *plain) in CLIP_WORDS
    left, beyond = h1["cot_hidden"], cell("cot_hidden", "clip")
    assert (
        f"its {float(left['mean']):.2f} points stay undecided, p after Holm {float(left['p_holm']):.3f}" in CLIP_WORDS
    )
    within = min(cell("cot_hidden", "clip", "id_accuracy"))
    told = f"between {min(beyond):.1f} and {max(beyond):.1f} % there, though all are right in at least {within:.1f} %"
    assert told in CLIP_WORDS
    same = points("cot_hidden", "clip")
    assert f"the same cell is at {mean(same):.2f} ± {stdev(same):.2f} %" in CLIP_WORDS
    h2 = [r for r in rows if r["hypothesis"] == "H2"]
    added = [float(r["mean"]) for r in h2]
    assert f"on top of clip adds {min(added):.2f} to {max(added):+.2f} points" in CLIP_WORDS
    assert sum(r["outcome"] == "held" for r in h2) == 3
    assert all(abs(float(r["mean"])) < 2 for r in rows if r["hypothesis"] == "H3a")
    learned = max(100 * (r.id_accuracy or 0) for r in measured if r.task == "semi_recursive_hidden")
    assert f"at most {learned:.1f} % within 64 tokens in any cell" in CLIP_WORDS


def test_clip_and_resonance() -> None:
    h1 = [float(row["mean"]) for row in comparisons("H1")]
    assert {row["outcome"] for row in comparisons("H1")} == {"held"}
    assert (f"{min(h1):.0f}", f"{max(h1):.0f}") == ("30", "55")
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "by 30 to 55 points on the four tasks" in CLIP_WORDS
    assert "by 30 to 55 points on the four tasks" in readme
    (semi,) = [r for r in judged() if (r["kind"], r["contrast"], r["task"]) == ("effect", "Clip", "semi_recursive")]
    assert f"it adds {float(semi['mean']):.1f} points" in CLIP_WORDS
    spread = points("recursive", "clip")
    assert f"the recursive task lies at {mean(spread):.2f} ± {stdev(spread):.2f} %" in CLIP_WORDS
    h2 = comparisons("H2")
    assert {row["task"] for row in h2 if row["outcome"] == "held"} == {"cot_hidden", "semi_recursive_hidden"}
    left = [float(row["mean"]) for row in h2 if row["outcome"] == "undecided"]
    assert len(left) == 4
    assert f"differences of {min(left):.2f} to {max(left):+.2f} points stay undecided" in CLIP_WORDS


def test_log_n_chance_and_base() -> None:
    (log_n,), (rest,) = comparisons("H3a", "cot"), comparisons("H3b", "cot")
    (hidden,) = comparisons("H3b", "cot_hidden")
    assert log_n["outcome"] == "undecided"
    assert f"log n adds {float(log_n['mean']):.2f} points, undecided after Holm" in CLIP_WORDS
    low, high = float(rest["low"]), float(rest["high"])
    below = -float(rest["mean"])
    assert f"stays {below:.2f} points below its own within 64 tokens [{low:.2f}, {high:.2f}]" in CLIP_WORDS
    assert f"With hidden answers {-float(hidden['mean']):.2f} points are left" in CLIP_WORDS
    h4 = comparisons("H4")
    clipped = [float(row["mean"]) for row in h4 if row["contrast"].startswith("Clip")]
    assert f"ends {min(clipped):.2f} to {max(clipped):.2f} points above chance" in CLIP_WORDS
    assert [row["contrast"].startswith("Clip") for row in h4 if row["outcome"] == "refuted"] == [True] * 6
    assert all(float(row["p_holm"]) < 0.05 and float(row["mean"]) > 0 for row in h4)
    most = max(100 * (r.ood_accuracy or 0) for r in records() if r.task == "semi_recursive_hidden")
    (bound,) = re.findall(r"No seed of any cell exceeds ([\d.]+) %", CLIP_WORDS)
    assert most < float(bound) < most + 0.015
    rope, base = mean(points("cot_hidden", "rope")), mean(points("cot_hidden", "base_64"))
    assert f"costs {rope - base:.2f} points on the chain of thought with hidden answers" in CLIP_WORDS
    assert f"hidden answers ({base:.2f} against {rope:.2f} %)" in CLIP_WORDS
    costs = mean(points("cot_hidden", "clip")) - mean(points("cot_hidden", "clip+base_64"))
    gains = mean(points("recursive", "clip+base_64")) - mean(points("recursive", "clip"))
    assert f"with clip it costs {costs:.2f} there, and on the recursive task it gains {gains:.2f}" in CLIP_WORDS


@pytest.mark.parametrize("title", FOUR)
def test_the_table_of_hidden_answers(title: str) -> None:
    columns = [(task, metric) for task in HIDDEN for metric in ("id_accuracy", "ood_accuracy")]
    values = [points(task, FOUR[title], metric) for task, metric in columns]
    assert f"| {' | '.join([title, *(f'{mean(v):.2f} ± {stdev(v):.2f}' for v in values)])} |" in FAR.splitlines()


def test_the_sentences_on_hidden_answers() -> None:
    cot, recursive = (
        [mean(points(task, pe)) for pe in ("clip", "rope")] for task in ("cot_hidden", "recursive_hidden")
    )
    told = f"clip keeps {cot[0]:.0f} % of the chain of thought and {recursive[0]:.0f} % of the recursive task"
    assert f"{told}, RoPE {cot[1]:.0f} and {recursive[1]:.0f} %" in FAR_WORDS
    less = [mean(points(task, "resonance")) - mean(points(task, "rope")) for task in HIDDEN[:2]]
    assert f"below RoPE on both ({less[0]:.2f} and {less[1]:.2f} points)" in FAR_WORDS
    within = [(r.id_accuracy or 0, r) for pe in FOUR.values() for r in of("semi_recursive_hidden", pe)]
    low, high = min(within, key=lambda pair: pair[0]), max(within, key=lambda pair: pair[0])
    assert f"{100 * low[0]:.1f} to {100 * high[0]:.1f} % within 64 tokens" in FAR_WORDS
    beyond = high[1].ood_accuracy
    assert beyond is not None
    assert f"learned most of it, {100 * high[0]:.1f} %, is at {100 * beyond:.2f} % beyond" in FAR_WORDS
