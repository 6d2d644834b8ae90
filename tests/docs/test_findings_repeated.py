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
LEAGUE = results() / "quick" / "league"
FILES = {
    "repeated/records.jsonl": "records.jsonl",
    "test_time/records.jsonl": "records.jsonl",
    "test_time/epochs-16/records.jsonl": "epochs-16/records.jsonl",
}

Pair = tuple[AccuracyRecord, AccuracyRecord]


def pairs(repeated: str) -> list[Pair]:
    """Results of one training, first and again."""
    first = {r.key: r for r in load(LEAGUE / FILES[repeated])}
    return [(first[r.key], r) for r in load(LEAGUE / repeated) if r.key in first]


EVERY = [pair for name in FILES for pair in pairs(name)]


def by_encoding(several: list[Pair]) -> list[np.ndarray]:
    """For each encoding (seeds, 2) OOD accuracies in %."""
    cells = defaultdict(list)
    for first, again in several:
        assert first.seed == again.seed
        cells[first.pe].append([100 * (r.ood_accuracy or 0) for r in (first, again)])
    return [np.array(cell) for cell in cells.values()]


def test_the_table() -> None:
    groups = defaultdict(list)
    for first, again in EVERY:
        assert first.created < again.created
        groups[first.task, first.training.optim.epochs].append((first, again))
    lines, spreads = [], []
    for (task, epochs), several in groups.items():
        cells = by_encoding(several)
        apart = np.concatenate([cell[:, 0] - cell[:, 1] for cell in cells])
        repeated = np.sqrt((apart**2).mean() / 2)
        seeds = np.sqrt(np.mean([cell.var(axis=0, ddof=1) for cell in cells]))
        shared = np.corrcoef(np.concatenate([cell - cell.mean(axis=0) for cell in cells]).T)[0, 1]
        lines.append(
            f"| {names.task(task)} | {epochs} | {len(several)} | {repeated:.2f} | {seeds:.2f} | {shared:.2f} |"
            f" {np.abs(apart).max():.1f} |"
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
    """`cpu` or `cuda`."""
    return record.training.trained_by[0].device.split(":")[0]


def test_on_cpus_the_same_to_the_last_digit() -> None:
    def place(r: AccuracyRecord) -> tuple[object, ...]:
        return (r.task, r.pe, r.seed, r.train_encoding, r.test_encoding)

    first = {place(r): r for r in load(results() / "quick/records.jsonl")}
    again = [r for r in load(LEAGUE / "records.jsonl") if place(r) in first and device(r) == "cpu"]
    assert f"{len(again)} results of quick were measured twice on CPUs" in WORDS
    for second in again:
        earlier = first[place(second)]
        assert second.created != earlier.created
        assert device(earlier) == "cpu"
        assert second.accuracy_by_position == earlier.accuracy_by_position
        losses = [[epoch.train_loss for epoch in r.history] for r in (earlier, second)]
        assert losses[0] == losses[1]
    threads = {r.training.trained_by[0].device.partition(", ")[2] for r in (*first.values(), *again)}
    assert threads == {"1 threads", "2 threads"}


def test_what_was_repeated_where() -> None:
    devices = [tuple(map(device, pair)) for pair in EVERY]
    counts = devices.count(("cpu", "cuda")), devices.count(("cuda", "cuda"))
    assert sum(counts) == len(EVERY)
    told = f"{len(EVERY)} results of quick's league were measured twice as well, "
    assert f"{told}{counts[0]} on a CPU and on a GPU, {counts[1]}" in WORDS


def test_the_first_epoch() -> None:
    losses = [[r.history[0].train_loss or 0 for r in pair] for pair in EVERY]
    apart = [abs(first - again) for first, again in losses]
    assert median(apart) <= 0.0006
    assert f"at most {max(apart):.3f}" in WORDS


def test_three_seeds_carry_no_order() -> None:
    hidden = [pair for pair in pairs("test_time/records.jsonl") if pair[0].task == "recursive_hidden"]
    means = {pe: by_encoding([p for p in hidden if p[0].pe == pe])[0].mean(axis=0) for pe in ("rope", "resonance_rope")}
    first, again = means["resonance_rope"] - means["rope"]
    assert f"is {first:.1f} points in the first three trainings and {again:+.1f} in the same three again" in WORDS
