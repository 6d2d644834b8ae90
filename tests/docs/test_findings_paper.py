"""docs/findings.md on the published sizes: every number of them, from the committed records."""

from __future__ import annotations

from statistics import mean

import numpy as np

from conf import names
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import FINDINGS, csv_rows

WORDS = " ".join(FINDINGS.split())
TASKS = {"recursive": "Recursive", "cot": "CoT", "semi_recursive": "Semi-recursive"}
PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")
LAST, STOPPED = "paper", "paper/epoch-146"


def records(folder: str, task: str, pe: str, protocol: str) -> list[AccuracyRecord]:
    every = load(results() / folder / "records.jsonl")
    return [r for r in every if (r.task, r.pe) == (task, pe) and protocol in r.protocols]


def cells() -> dict[tuple[str, str, str], dict[str, str]]:
    """(task, encoding, protocol) -> the row of Table 1 that has a number for it."""
    every = csv_rows(f"{LAST}/table1.csv") + csv_rows(f"{STOPPED}/table1.csv")
    return {(r["task"], r["pe"], r["protocol"]): r for r in every if r["ood_accuracy_percent"]}


def validated(task: str, pe: str, protocol: str, epoch: int, key: str = "validation_ood_accuracy") -> float:
    found = records(LAST, task, pe, protocol)
    return mean(100 * next(getattr(h, key) for h in r.history if h.epoch == epoch) for r in found)


def test_what_was_trained() -> None:
    """Five seeds in every cell, at the published sizes, from a clean commit."""
    for folder, members, ends in ((LAST, 30, None), (STOPPED, 30, 146)):
        every = load(results() / folder / "records.jsonl")
        assert len({r.run_id for r in every}) == members
        makers = [maker for r in every for maker in (*r.trained_by, r.measured_by)]
        assert all(m.git_commit and m.git_dirty is False and m.device.startswith("cuda") for m in makers)
        assert all(r.trained_epochs == ends and r.history[-1].epoch == (ends or 150) for r in every)
        for r in every:
            sizes = (r.training.model.d_model, r.training.model.layers, r.training.optim.epochs)
            assert (*sizes, r.training.data.train_size) == (512, 2, 150, 10_000)
    assert all(len(r["ood_std_points"]) > 0 and r["n"] == "5" for r in cells().values())


def told(task: str, pe: str, *protocols: str) -> list[str]:
    """The cells of a row: task, encoding, the published value, and each protocol's; † marks what was stopped."""
    found = cells()
    row = [TASKS[task], names.encoding(pe), f"{float(found[task, pe, 'paper']['published_ood_accuracy_percent']):.2f}"]
    for protocol in protocols:
        r = found[task, pe, protocol]
        stopped = " †" if protocol == "paper" and "yarn" in pe else ""
        row.append(f"{float(r['ood_accuracy_percent']):.2f} ± {float(r['ood_std_points']):.2f}{stopped}")
    return row


def test_the_tables() -> None:
    """A test of tests/results holds the README's table to the records."""
    readme, found = (ROOT / "README.md").read_text(), cells()
    assert len(found) == 36
    for task in TASKS:
        for pe in PES:
            own = [
                *told(task, pe, "paper", "zero_shot", "zero_shot_text"),
                f"{validated(task, pe, 'zero_shot', 150):.2f}",
            ]
            assert f"| {' | '.join(own)} |" in FINDINGS
    rope = [float(found[task, pe, "zero_shot"]["difference_points"]) for task in TASKS for pe in PES[:2]]
    assert f"RoPE's rows are {min(rope):.0f} to {max(rope):.0f} points better" in readme


def test_which_reading_is_nearest() -> None:
    found = cells()

    def distances(protocol: str, last: bool) -> list[float]:
        return [
            abs(
                (validated(t, p, protocol, 150) if last else float(found[t, p, protocol]["ood_accuracy_percent"]))
                - float(found[t, p, protocol]["published_ood_accuracy_percent"])
            )
            for t in TASKS
            for p in PES
        ]

    chosen, last, text = distances("zero_shot", False), distances("zero_shot", True), distances("zero_shot_text", True)
    yarn = [d for (t, p), d in zip([(t, p) for t in TASKS for p in PES], chosen, strict=True) if "yarn" in p]
    assert f"all YaRN rows are within {max(yarn):.2f} points" in WORDS
    assert f"in {sum(d < 5 for d in last)} of 12 rows" in WORDS
    assert f"a mean distance of {mean(last):.2f} points against {mean(chosen):.2f} for the chosen" in WORDS
    assert f"is as near ({mean(text):.2f})" in WORDS
    other = distances("zero_shot_text", False)
    paper = [abs(float(found[t, p, "paper"]["difference_points"])) for t in TASKS for p in PES]
    assert mean(chosen) < min(mean(paper), mean(other))


def test_verdicts() -> None:
    every = [r for folder in (LAST, STOPPED) for r in csv_rows(f"{folder}/verdict.csv")]
    judged = {(r["protocol"], r["task"], r["pe"]): r for r in every if r["kind"] == "cell" and r["difference"]}
    by = {
        verdict: [
            (t, p) for (protocol, t, p), r in judged.items() if protocol == "zero_shot" and r["verdict"] == verdict
        ]
        for verdict in ("reproduced", "contradicted", "inconclusive")
    }
    assert by["reproduced"] == [("cot", "yarn"), ("cot", "resonance_yarn")]
    assert by["contradicted"] == [("cot", "resonance_rope"), ("semi_recursive", "resonance_rope")]
    assert len(by["inconclusive"]) == 8
    better = (float(judged["zero_shot", *place]["difference"]) for place in by["contradicted"])
    assert "it is {:.2f} and {:.2f} points better than published".format(*better) in WORDS
    assert judged["zero_shot_text", "semi_recursive", "yarn"]["verdict"] == "contradicted"
    below = [judged["paper", task, "resonance_yarn"] for task in ("recursive", "cot")]
    assert {r["verdict"] for r in below} == {"contradicted"}
    assert "is {:.2f} (recursive) and {:.2f} points".format(*(-float(r["difference"]) for r in below)) in WORDS
    pairs = {(r["protocol"], r["task"], r["pe"]): r for r in every if r["kind"] == "pair" and r["difference"]}
    assert [place for place, r in pairs.items() if r["verdict"] != "undecided"] == [
        ("paper", "recursive", "resonance_yarn")
    ]
    for pe in ("resonance_rope", "resonance_yarn"):
        r = pairs["zero_shot", "semi_recursive", pe]
        assert f"{float(r['difference']):.2f} {'points to RoPE' if pe == 'resonance_rope' else 'to YaRN'}" in WORDS
        assert f"[{float(r['low']):+.2f}, {float(r['high']):+.2f}]" in WORDS
        assert float(r["improvement"]) == 1.0
    adjusted = {f"{float(pairs['zero_shot', 'semi_recursive', pe]['p_holm']):.3f}" for pe in PES[1::2]}
    assert f"p is {' and '.join(adjusted)} for both" in WORDS
    others = [float(r["difference"]) for (p, t, _), r in pairs.items() if p == "zero_shot" and t != "semi_recursive"]
    assert f"lie between {min(others):+.2f} and {max(others):+.2f} points" in WORDS
    text = [abs(float(r["difference"])) for (p, _, e), r in pairs.items() if p == "zero_shot_text" and e == PES[3]]
    assert f"differences of at most {max(text):.2f} points" in WORDS
    trained = [float(pairs["paper", task, PES[3]]["difference"]) for task in TASKS]
    assert f"costs {-trained[0]:.2f} points on the recursive task" in WORDS
    assert f"and {-trained[1]:.2f} on the chain of thought" in WORDS
    assert f"it gains {trained[2]:.2f}" in WORDS
    claims = [
        (r["protocol"], r["name"], r["verdict"]) for r in every if r["kind"] == "claim" and r["verdict"] != "undecided"
    ]
    assert ("zero_shot", "figure3_b", "holds") in claims
    assert sum(verdict == "fails" for _, _, verdict in claims) == 3
    assert all(protocol == "paper" for protocol, _, verdict in claims if verdict == "fails")
    assert len(claims) == 4


def test_what_epochs_change() -> None:
    for task, words in (
        ("recursive", "(recursive)"),
        ("cot", "(chain of thought)"),
        ("semi_recursive", "(semi-recursive)"),
    ):
        early, late = validated(task, "rope", "paper", 12), validated(task, "rope", "paper", 150)
        assert f"{early:.1f} to {late:.1f} % {words}" in WORDS
        limit = 100 * ((59 / 60) if task != "semi_recursive" else 0.5)
        assert validated(task, "rope", "paper", 12, "validation_id_accuracy") > limit
    chosen = [r.checkpoint_epoch or 0 for task in ("recursive", "cot") for r in records(LAST, task, "rope", "paper")]
    assert f"at epochs {min(chosen)} to {max(chosen)} (RoPE" in WORDS


def test_the_two_token_rule() -> None:
    every = load(results() / LAST / "records.jsonl") + load(results() / STOPPED / "records.jsonl")

    def positions(task: str, pe: str = "") -> np.ndarray:
        own = [r for r in every if r.task == task and r.pe == (pe or r.pe)]
        return 100 * np.array([r.accuracy_by_position for r in own], dtype=float)

    four = [positions(task)[:, 4].mean() for task in ("recursive", "cot")]
    assert "is right at {:.1f} and {:.1f} %".format(*four) in WORDS
    assert all(f"{positions(task)[:, 5:64].mean():.1f}" == "100.0" for task in ("recursive", "cot"))
    even = positions("semi_recursive")[:, 6:64:2]
    assert f"the even tokens reach {even.mean():.1f} %" in WORDS
    rope = positions("semi_recursive", "rope").mean(0)
    learned = [p for p in range(6, 64, 2) if rope[p] > 20]
    assert learned == [22, 30, 58]
    assert f"at {min(rope[learned]):.0f} to {max(rope[learned]):.0f} %" in WORDS


def test_lengths() -> None:
    lines = (results() / LAST / "lengths" / "lengths.md").read_text().splitlines()
    found = {tuple(c[:4]): c for c in ([x.strip() for x in line.strip("|").split("|")] for line in lines) if len(c) > 5}
    assert found["zero_shot_text", "CoT", "YaRN", "s = n/L"][4:6] == ["≥4096", "≥4096"]
    assert f"and s = 4, {found['zero_shot', 'CoT', 'YaRN', 's = 4'][4]} tokens" in WORDS
    assert f"without a scaling, {found['zero_shot', 'CoT', 'RoPE', 'none'][4]}." in WORDS


def fallen(pe: str) -> dict[int, int]:
    """Seed -> the first token at which accuracy is below 80 % of the model's own within the training length."""
    found = {}
    for r in records(LAST, "recursive", pe, "paper"):
        accuracy = np.array(r.accuracy_by_position, dtype=float)
        found[r.seed] = 64 + int(np.argmax(accuracy[64:] < 0.8 * accuracy[5:64].mean()))
    return dict(sorted(found.items()))


def test_what_stands_and_what_falls() -> None:
    rope, resonance = fallen("rope"), fallen("resonance_rope")
    (first, *others) = rope.items()
    told = [f"{first[1]} (seed {first[0]})", *(f"{token} ({seed})" for seed, token in others)]
    assert f"at token {', '.join(told[:-1])} and {told[-1]}; Resonance RoPE" in WORDS
    tokens = [str(token) for token in resonance.values()]
    assert f"at {', '.join(tokens[:-1])} and {tokens[-1]}." in WORDS
    found = cells()
    for task in TASKS:
        for pe in PES[2:]:
            ood = {
                p: float(found[task, pe, p]["ood_accuracy_percent"]) for p in ("paper", "zero_shot", "zero_shot_text")
            }
            assert ood["paper"] < min(ood["zero_shot"], ood["zero_shot_text"])
    worth = [
        float(found[task, "rope", "paper"]["ood_accuracy_percent"]) - validated(task, "rope", "paper", 150)
        for task in ("recursive", "cot")
    ]
    assert f"worth {min(worth):.0f} to {max(worth):.0f} points in RoPE's rows" in WORDS


def test_lengths_by_factor() -> None:
    lines = (results() / LAST / "lengths" / "lengths.md").read_text().splitlines()
    table = {tuple(c[:4]): c for c in ([x.strip() for x in line.strip("|").split("|")] for line in lines) if len(c) > 5}
    for protocol, words in (("zero_shot_text", "{}, {} and {} tokens at s = 4, 8"), ("zero_shot", "({}, {} and {})")):
        row = [table[protocol, "Recursive", "YaRN", f"s = {s}"][4] for s in (4, 8, 16)]
        assert words.format(*row) in WORDS
    far = [table["zero_shot", "CoT", pe, "none"][-1] for pe in ("Resonance RoPE", "RoPE")]
    assert "keeps {} % of the tokens before 4,096, RoPE {} %".format(*far) in WORDS
