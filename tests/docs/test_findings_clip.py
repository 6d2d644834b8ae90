"""Clip, six layers and fp32 at the published sizes: docs/declared.md's judgement and the section of docs/findings.md,
every number from the committed records."""

from __future__ import annotations

import functools
import re
from statistics import mean
from typing import NamedTuple

import numpy as np

from conf import names
from eval.evidence.statistics import holm, paired_t, smallest_sign_flip, summary
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import FINDINGS, csv_rows

DECLARED = (ROOT / "docs" / "declared.md").read_text().split("### What came out")[1]
JUDGED, WORDS = " ".join(DECLARED.split()), " ".join(FINDINGS.split())
TASKS = {"recursive": "Recursive", "cot": "CoT", "semi_recursive": "Semi-recursive"}
PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")
TEXT, SIX = "zero_shot_text", "zero_shot_text+layers=6"
SEED = 5549


@functools.cache
def everything(folder: str) -> list[AccuracyRecord]:
    return load(results() / folder / "records.jsonl")


def records(folder: str, task: str, pe: str, protocol: str) -> list[AccuracyRecord]:
    """By seed."""
    own = [r for r in everything(folder) if (r.task, r.pe) == (task, pe) and protocol in r.protocols]
    return sorted(own, key=lambda r: r.seed)


def points(folder: str, task: str, pe: str, protocol: str = "paper", metric: str = "ood_accuracy") -> list[float]:
    return [100 * getattr(r, metric) for r in records(folder, task, pe, protocol)]


def validated(folder: str, task: str, pe: str, epoch: int, protocol: str = "paper") -> float:
    own = records(folder, task, pe, protocol)
    return mean(100 * next(h.validation_ood_accuracy or 0.0 for h in r.history if h.epoch == epoch) for r in own)


def spread(values: list[float]) -> str:
    assert len(values) == 5
    return f"{mean(values):.2f} ± {summary(values).std:.2f}"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def test_what_was_trained() -> None:
    """What the declaration says, after it, from a clean commit; RoPE's rows differ in nothing but the encoding."""
    for folder, count, epoch in (("paper/clip", 30, 150), ("paper/layers-6", 60, 24), ("paper/fp32", 3, 150)):
        assert len(everything(folder)) == count
        for r in everything(folder):
            for maker in (*r.trained_by, r.measured_by):
                assert ((maker.git_commit or "")[:7], maker.git_dirty) == ("c49a6bb", False)
            assert r.history[-1].epoch == epoch
            model = r.training.model
            assert (model.d_model, r.training.optim.epochs) == (512, 150)
            assert r.training.data.train_size == 10_000
            assert model.layers == (6 if epoch == 24 else 2)
            assert model.precision.value == r.config["model"]["precision"] == ("fp32" if count == 3 else "bf16")
            assert r.trained_epochs == (24 if epoch == 24 else None)
    for task in TASKS:
        (rope, *_) = records("paper", task, "rope", "paper")
        for pe in ("p_rope", "resonance_p_rope"):
            own = records("paper/clip", task, pe, "paper")
            assert [r.seed for r in own] == [r.seed for r in records("paper", task, "rope", "paper")]
            for r in own:
                assert r.spec.params["p"] == 9 / 32
                assert all(r.config[node] == rope.config[node] for node in ("task", "data", "model", "optim"))
                assert {maker.device for maker in r.trained_by} == {maker.device for maker in rope.trained_by}
                assert (r.measured_by.device, r.selection) == (rope.measured_by.device, rope.selection)


class Judged(NamedTuple):
    decided: bool
    mean: float
    ends: tuple[float, float]
    interval: str
    p_holm: str
    differences: list[float]


def test_the_judgement() -> None:
    """Paired t tests over five seeds, Holm over six, as declared."""
    found = []
    for pe, other, folder in (("p_rope", "rope", "paper"), ("resonance_p_rope", "p_rope", "paper/clip")):
        for task in TASKS:
            ours, theirs = points("paper/clip", task, pe), points(folder, task, other)
            found.append((pe, other, task, ours, theirs, [a - b for a, b in zip(ours, theirs, strict=True)]))
    tests = [paired_t(differences) for *_, differences in found]
    decided: dict[tuple[str, str], Judged] = {}
    for (pe, other, task, ours, theirs, differences), test, adjusted in zip(
        found, tests, holm([test.p if test else None for test in tests]), strict=True
    ):
        assert test is not None
        assert test.low is not None
        assert test.high is not None
        assert test.p is not None
        assert adjusted is not None
        low, high = test.low, test.high
        interval = f"[{low:+.2f}, {high:+.2f}]"
        cells = [
            f"{names.encoding(pe)} - {names.encoding(other)}", TASKS[task], f"{mean(ours):.2f}, {mean(theirs):.2f}",
            ", ".join(f"{value:+.2f}" for value in differences),
            f"{test.mean:+.2f} ± {summary(differences).std:.2f}", interval, f"{test.p:.3f}", f"{adjusted:.3f}",
            "decided" if adjusted < 0.05 else "undecided",
        ]  # fmt: skip
        assert row(cells) in DECLARED
        decided[pe, task] = Judged(adjusted < 0.05, test.mean, (low, high), interval, f"{adjusted:.3f}", differences)
    assert [place for place, one in decided.items() if one.decided] == [("p_rope", "recursive"), ("p_rope", "cot")]
    one, two, three = (decided["p_rope", task] for task in TASKS)
    assert min(one.mean, two.mean) > 0  # H1
    assert all(min(found.differences) > 0 for found in (one, two, three))
    for words in (
        f"above RoPE by {one.mean:.2f} points on the recursive task {one.interval}",
        f"by {two.mean:.2f} on the chain of thought {two.interval}",
        f"six comparisons {one.p_holm} and {two.p_holm})",
        f"it gains {three.mean:.2f}, undecided",
    ):
        assert words in WORDS
    assert f"{one.mean:.0f} {two.mean:.0f}" == "17 17"
    assert "is 17 points above RoPE on two tasks" in (ROOT / "README.md").read_text()
    near, cot, semi = (decided["resonance_p_rope", task] for task in TASKS)
    assert max(abs(end) for own in (near, cot) for end in own.ends) < 2
    least, most = min(semi.differences), max(semi.differences)
    assert least > 0
    assert f"by {least:.2f} to {most:.2f} points, and p after Holm is {semi.p_holm}" in JUDGED
    words = f"{semi.mean:+.2f} points {semi.interval}, p after Holm {semi.p_holm}"
    assert f"{near.mean:+.2f}, {cot.mean:+.2f} and, on the semi-recursive task, {words}" in WORDS
    assert f"p {smallest_sign_flip(5)} with five seeds" in JUDGED


def test_what_resonance_p_rope_learned() -> None:
    """By position on the semi-recursive task, and by epoch."""
    told = {}
    for pe in ("resonance_p_rope", "p_rope"):
        by = 100 * np.array(
            [r.accuracy_by_position for r in records("paper/clip", "semi_recursive", pe, "paper")], dtype=float
        )
        known = [position for position in range(6, 256, 2) if by[:, position].mean() > 20]
        told[pe] = [by[:, 65::2].mean(), by[:, 64::2].mean(), by[:, 5:64:2].mean(), by[:, 6:64:2].mean(), known]
    (odd, even, odd_id, even_id, four), (p_odd, p_even, p_odd_id, p_even_id, two) = told.values()
    assert f"at {odd:.1f} % of the odd tokens and at {even:.1f} % of the even ones (p-RoPE: {p_odd:.1f} and" in JUDGED
    assert f"{p_even:.1f} %); within 64" in JUDGED
    assert f"{odd_id:.1f} {p_odd_id:.1f}" == "100.0 100.0"
    assert f"and at {even_id:.1f} and {p_even_id:.1f} % of the even ones" in JUDGED
    assert (four, two) == ([22, 30, 34, 58], [22, 30])
    rule = 100 * (1 + 1 / 17) / 2
    assert f"which gives {rule:.2f} %" in JUDGED
    short = rule - mean(points("paper/clip", "semi_recursive", "resonance_p_rope"))
    assert f"within {short:.2f} points of what the two-token rule below gives, {rule:.2f} %: {odd:.1f} %" in WORDS
    early, late = (
        [validated("paper/clip", "semi_recursive", pe, epoch) for pe in ("resonance_p_rope", "p_rope")]
        for epoch in (12, 150)
    )
    assert "at {:.1f} and {:.1f} %, at epoch 150 at {:.1f} and {:.1f} %".format(*early, *late) in JUDGED
    assert f"from {early[1]:.1f} % at epoch 12 to {late[1]:.1f} %; Resonance p-RoPE stays at {early[0]:.1f}" in WORDS
    last = [
        validated(f, t, pe, 150) for f, pe in (("paper/clip", "p_rope"), ("paper", "rope")) for t in list(TASKS)[:2]
    ]
    assert "it is at {:.1f} and {:.1f} %, RoPE at {:.1f} and {:.1f} %".format(*last) in WORDS


def test_the_table_of_clip() -> None:
    for task in TASKS:
        cells = [spread(points("paper", task, pe)) for pe in PES[:2]]
        cells += [spread(points("paper/clip", task, pe)) for pe in ("p_rope", "resonance_p_rope")]
        assert row([TASKS[task], *cells]) in FINDINGS
        assert mean(points("paper", task, "yarn", TEXT)) > mean(points("paper/clip", task, "p_rope"))
    gaps = csv_rows("paper/clip/gap-paper.csv")
    for pe in ("p_rope", "resonance_p_rope"):
        own = [{k: float(v) for k, v in r.items() if "gap" in k and v} for r in gaps if r["pe"] == pe]
        assert len(own) == 192
        assert all(max(r.values()) < 1e-9 for r in own) == (pe == "resonance_p_rope")


def test_six_layers() -> None:
    rows = csv_rows("paper/table1.csv")
    published = {(r["task"], r["pe"]): float(r["published_ood_accuracy_percent"]) for r in rows}
    above, moved = [], []
    for task in TASKS:
        for pe in PES:
            two, six = points("paper", task, pe, TEXT), points("paper/layers-6", task, pe, SIX)
            at_24 = validated("paper", task, pe, 24, TEXT), validated("paper/layers-6", task, pe, 24, SIX)
            numbers = [spread(two), f"{at_24[0]:.2f}", spread(six), f"{at_24[1]:.2f}"]
            assert row([TASKS[task], names.encoding(pe), f"{published[task, pe]:.2f}", *numbers]) in FINDINGS
            if "yarn" in pe:
                moved.append(abs(mean(six) - mean(two)))
            else:
                above.append(mean(six) - published[task, pe])
                assert at_24[1] > at_24[0]
                assert mean(six) > mean(two) > published[task, pe]
    assert f"are {min(above):.0f} to {max(above):.0f} points above the published ones" in WORDS
    assert f"differ by at most {max(moved):.2f} points from two layers' at epoch 150" in WORDS
    optim = everything("paper/layers-6")[0].training.optim
    assert f"at epoch 24 with {24 / optim.epochs:.0%} of the schedule".replace("%", " %") in WORDS
    assert f"at epoch {optim.pct_start * optim.epochs:.0f} (" in WORDS
    pairs = [r["verdict"] for r in csv_rows("paper/layers-6/verdict.csv") if r["kind"] == "pair"]
    assert pairs == ["undecided"] * 6


def test_fp32_against_bf16() -> None:
    """The declared rule: the difference lies within what the five bf16 seeds span."""
    differences, spans, ids = [], [], []
    early: list[float] = []
    late: list[float] = []
    for task in TASKS:
        (full,), every = (
            records("paper/fp32", task, "rope", "zero_shot"),
            records("paper", task, "rope", "zero_shot"),
        )
        (half,) = [r for r in every if r.seed == SEED == full.seed]
        bf16 = points("paper", task, "rope", "zero_shot")
        ood, id_ = ([100 * getattr(r, metric) for r in (full, half)] for metric in ("ood_accuracy", "id_accuracy"))
        differences.append(ood[0] - ood[1])
        spans.append(max(bf16) - min(bf16))
        ids.append(abs(id_[0] - id_[1]))
        cells = [f"{ood[0]:.2f}", f"{ood[1]:.2f}", f"{differences[-1]:+.2f}", f"{spans[-1]:.2f}"]
        epochs = f"{full.checkpoint_epoch}, {half.checkpoint_epoch}"
        assert row([TASKS[task], *cells, epochs, f"{id_[0]:.2f}", f"{id_[1]:.2f}"]) in DECLARED
        assert abs(differences[-1]) < spans[-1]
        for one, other in zip(full.history, half.history, strict=True):
            assert one.validation_ood_accuracy is not None
            assert other.validation_ood_accuracy is not None
            apart = 100 * abs(one.validation_ood_accuracy - other.validation_ood_accuracy)
            (early if one.epoch <= 30 else late).append(apart)
    assert f"within {max(early):.2f} points up to epoch 30 and within {max(late):.2f} later" in JUDGED
    assert f"spans of {min(spans):.0f} to {max(spans):.0f} points" in JUDGED
    assert f"The {-differences[2]:.2f} points of the semi-recursive task" in JUDGED
    assert "by {:+.2f}, {:+.2f} and {:+.2f} points from bf16's".format(*differences) in WORDS
    assert "span {:.2f}, {:.2f} and {:.2f} points".format(*spans) in WORDS
    assert f"ID accuracy by at most {max(ids):.2f}" in WORDS
    assert f"they are within {max(*early, *late):.2f} points" in WORDS


def test_what_was_stopped_is_called_so() -> None:
    """No number of six layers stands without the epoch that it comes from."""
    for text in (FINDINGS, (ROOT / "docs" / "declared.md").read_text()):
        for part in re.split(r"\n\n", text):
            if "layers-6" in part:
                assert "epoch 24" in part
