"""The section on repeated trainings of docs/findings.md."""

from __future__ import annotations

import re
from collections import defaultdict
from statistics import median

import numpy as np

from conf import names
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import section

SECTION = section("Does a seed fix a number?")
WORDS = " ".join(SECTION.split())
QUICK = results() / "quick"
LEAGUE = QUICK / "league"
FILES = {
    "repeated/records.jsonl": ("records.jsonl", "two kinds of CPU"),
    "league/repeated/records.jsonl": ("league/records.jsonl", "CPU and GPU"),
    "league/test_time/records.jsonl": ("league/records.jsonl", "GPU, other members"),
    "league/test_time/epochs-16/records.jsonl": ("league/epochs-16/records.jsonl", "GPU, other members"),
}
"""Where results were made again: where they were made first, and what was different."""

Pair = tuple[AccuracyRecord, AccuracyRecord]


def place(r: AccuracyRecord) -> tuple[object, ...]:
    """What tells the results of one file apart."""
    return (r.task, r.pe, r.seed, r.train_encoding, r.test_encoding)


def pairs(repeated: str) -> list[Pair]:
    """Results of one training, first and again."""
    first = {place(r): r for r in load(QUICK / FILES[repeated][0])}
    return [(first[place(r)], r) for r in load(QUICK / repeated) if place(r) in first]


EVERY = {name: pairs(name) for name in FILES}
ALL = [pair for several in EVERY.values() for pair in several]


def by_encoding(several: list[Pair]) -> list[np.ndarray]:
    """For each encoding in training and test [seeds, 2] OOD accuracies in %."""
    cells = defaultdict(list)
    for first, again in several:
        assert first.seed == again.seed
        cells[first.pe, first.test_encoding].append([100 * (r.ood_accuracy or 0) for r in (first, again)])
    return [np.array(cell) for cell in cells.values()]


def test_the_table() -> None:
    groups = defaultdict(list)
    for name, several in EVERY.items():
        for first, again in sorted(several, key=lambda pair: names.place_order(pair[0].task, "")):
            assert first.created < again.created
            groups[first.task, FILES[name][1], first.training.optim.epochs].append((first, again))
    lines, spreads = [], []
    for (task, where, epochs), several in groups.items():
        cells = by_encoding(several)
        apart = np.concatenate([cell[:, 0] - cell[:, 1] for cell in cells])
        repeated = np.sqrt((apart**2).mean() / 2)
        seeds = np.sqrt(np.mean([cell.var(axis=0, ddof=1) for cell in cells]))
        shared = np.corrcoef(np.concatenate([cell - cell.mean(axis=0) for cell in cells]).T)[0, 1]
        lines.append(
            f"| {names.task(task)} | {where} | {epochs} | {len(several)} | {repeated:.2f} | {seeds:.2f} | {shared:.2f} "
            f"| {np.abs(apart).max():.1f} |"
        )
        spreads.append((task.startswith("semi"), repeated, seeds, shared))
    assert [line for line in SECTION.splitlines() if re.match(r"\| [A-Z]", line)] == lines
    repeated, seeds = ([spread[k] for spread in spreads if not spread[0]] for k in (1, 2))
    ranges = f"{min(repeated):.0f} to {max(repeated):.0f} points"
    assert f"ends {ranges} from where it ended" in WORDS
    assert (
        f"where seeds differ by {min(seeds):.0f} to {max(seeds):.0f}; on the semi-recursive tasks both differ little"
        in WORDS
    )
    shared = [spread[3] for spread in spreads]
    assert f"(correlations of {min(shared):.2f} to {max(shared):.2f})" in WORDS
    for page in ("README.md", "docs/performance.md"):
        assert ranges.removesuffix(" points") in (ROOT / page).read_text()


def device(record: AccuracyRecord) -> str:
    return record.training.trained_by[0].device


def test_on_one_kind_of_processor_the_same_to_the_last_digit() -> None:
    first = {place(r): r for r in load(QUICK / "records.jsonl")}
    again = [r for r in load(LEAGUE / "records.jsonl") if place(r) in first and device(r).startswith("cpu")]
    assert f"{len(again)} results of quick were measured twice on AMD EPYC processors" in WORDS
    for second in again:
        earlier = first[place(second)]
        assert second.created != earlier.created
        assert second.accuracy_by_position == earlier.accuracy_by_position
        losses = [[epoch.train_loss for epoch in r.history] for r in (earlier, second)]
        assert losses[0] == losses[1]
    assert {device(r) for r in (*first.values(), *again)} == {"cpu: AMD EPYC, 1 threads", "cpu: AMD EPYC, 2 threads"}


def test_what_was_repeated_where() -> None:
    counts = [len(several) for several in EVERY.values()]
    assert sum(counts) == len(ALL)
    told = "{} results were measured twice and differ: the {} of quick's Table 1 on another AMD EPYC, which has AVX2"
    assert told.format(len(ALL), counts[0]) in WORDS
    assert f"{counts[1]} of the league on a CPU and on a GPU" in WORDS
    assert f"{counts[2] + counts[3]} on one GPU in populations of different size" in WORDS
    devices = [{(device(a).split(",")[0], device(b).split(",")[0]) for a, b in several} for several in EVERY.values()]
    cpu, gpu = "cpu: AMD EPYC", "cuda: NVIDIA H200"
    assert devices == [{(cpu, f"{cpu} (AVX2)")}, {(cpu, gpu)}, {(gpu, gpu)}, {(gpu, gpu)}]
    assert all(a.accuracy_by_position != b.accuracy_by_position for a, b in ALL)


def test_the_first_epoch() -> None:
    losses = [[r.history[0].train_loss or 0 for r in pair] for pair in ALL]
    apart = [abs(first - again) for first, again in losses]
    assert median(apart) <= 0.0001
    assert "by 0.0001 or less in half of the pairs" in WORDS
    assert f"at most {max(apart):.3f}" in WORDS


def test_three_seeds_carry_no_order() -> None:
    hidden = [pair for pair in EVERY["league/test_time/records.jsonl"] if pair[0].task == "recursive_hidden"]
    means = {pe: by_encoding([p for p in hidden if p[0].pe == pe])[0].mean(axis=0) for pe in ("rope", "resonance_rope")}
    first, again = means["resonance_rope"] - means["rope"]
    assert f"is {first:.1f} points in the first three trainings and {again:+.1f} in the same three again" in WORDS
