"""A bit that flips in any file below results/: told in a line that names the file, or without any effect."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from eval.store import states
from eval.store.records import load
from eval.store.runs import Run
from posgen.dataset import load as load_data
from posgen.errors import UserError
from tests.faults.command import posgen
from tests.faults.injection import Fault
from tests.faults.numbers import numbers
from tests.faults.scenes import HOW, RECORDS, SWEEP, evaluate, finished_run, workplace

Reader = Callable[[], Any]


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def outcomes(file: Path, read: Reader, bits: Iterable[int], named: str = "") -> Counter[str]:
    """Flip one bit after another and read: how many were refused, and how many read as if nothing was. The rest fails.
    `named`: what a refusal has to name, the file itself unless given."""
    content, expected, counted = file.read_bytes(), read(), Counter[str]()
    try:
        for bit in bits:
            file.write_bytes(flipped(content, bit))
            refusal = None
            try:
                same = read() == expected
            except UserError as error:
                refusal = str(error)
            if refusal is None:
                assert same, f"{file.name}: bit {bit} changes what is read"
            else:
                assert (named or str(file)) in refusal, f"{file.name}: bit {bit}: {refusal}"
                assert "\n" not in refusal
            counted["harmless" if refusal is None else "refused"] += 1
    finally:
        file.write_bytes(content)
    assert read() == expected
    return counted


@pytest.fixture(scope="module")
def results(place: Path, clean: Path) -> Path:
    """Those of a finished sweep, and the states of one that was killed."""
    shutil.copytree(clean, place / "flips")
    stopped = workplace(place / "stopped")
    assert posgen(stopped, *SWEEP, fault=Fault("kill", 1, r"rename .*/weights-"), **HOW).status == 137
    shutil.copytree(stopped / "results/runs/.states", place / "flips/results/runs/.states", dirs_exist_ok=True)
    return place / "flips" / "results"


def chosen(file: Path, number: int) -> list[int]:
    return random.Random(5549).sample(range(8 * file.stat().st_size), number)


@pytest.mark.parametrize("name", ["run.json", "history.json", "spec.json", "config.yaml"])
def test_what_a_run_says(results: Path, name: str) -> None:
    run = Run(results / "runs", finished_run(results.parent))
    readers: dict[str, Reader] = {
        "run.json": run.info,
        "history.json": lambda: (run.done, run.result().history, run.result().chosen, run.weights("rope").keys()),
        "spec.json": run.spec,
        "config.yaml": run.config,
    }
    file = run.path / name
    # A damaged checksum of weights tells on the weights.
    bits = [*chosen(file, 1000), *_bits_of(file, b'"digest"')]
    counted = outcomes(file, readers[name], bits, named=run.run_id)
    assert counted["refused"] > 0.9 * counted.total(), counted


def _bits_of(file: Path, key: bytes) -> range:
    """Those of the last place where this stands: an unreadable key must not make its file one without a digest."""
    at = file.read_bytes().rfind(key)
    return range(8 * at, 8 * (at + len(key))) if at >= 0 else range(0)


def test_weights_and_states(results: Path) -> None:
    run = Run(results / "runs", finished_run(results.parent))
    weights = run.path / "weights-rope.safetensors"
    counted = outcomes(weights, lambda: [w.tolist() for w in run.weights("rope").values()], chosen(weights, 300))
    assert counted == {"refused": 300}
    (file,) = (results / "runs" / ".states").glob("*.pt")

    def read() -> list[Any]:
        states._INTACT.clear()  # as in a process that begins
        read = states.load(results / "runs", file.name[:12])
        return [value.sum().item() for state in read.values() for value in state.values() if torch.is_tensor(value)]

    assert outcomes(file, read, chosen(file, 300)) == {"refused": 300}


def test_records(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results.parent / RECORDS
    last = file.stat().st_size - 1
    counted = outcomes(file, lambda: load(file), [bit for bit in chosen(file, 400) if bit // 8 != last])
    assert counted["harmless"] == 0
    # Without its newline the last line is taken for one that is being written: said, and measured again.
    content = file.read_bytes()
    file.write_bytes(flipped(content, 8 * last))
    assert len(load(file)) == content.count(b'{"kind":"accuracy"') - 1
    assert "ends within a line" in capsys.readouterr().err
    file.write_bytes(content)


def test_data(results: Path) -> None:
    (folder,) = (results / "data").iterdir()

    def read() -> list[bytes]:
        data = load_data(folder)
        return [split.tobytes() for split in (data.train, data.validation, data.test)]

    counted = Counter[str]()
    for file in folder.iterdir():
        counted += outcomes(file, read, chosen(file, 150), named=str(folder))
    assert counted["refused"] > counted["harmless"]


KINDS = {
    "run.json": "runs/*/run.json",
    "history.json": "runs/*/history.json",
    "spec.json": "runs/*/spec.json",
    "config.yaml": "runs/*/config.yaml",
    "weights": "runs/*/weights-rope.safetensors",
    "records": "smoke*/records.jsonl",
    "data": "data/*/test.parquet",
    "manifest": "data/*/manifest.json",
}


def told_or_harmless(clean: Path, folder: Path, kind: str, bit: int) -> str:
    """What came of a flip in the first such file of a copy of the clean sweep, for every command that reads it."""
    shutil.copytree(clean, folder)
    file = next(path for path in sorted((folder / "results").glob(KINDS[kind])) if path.stat().st_size)
    if kind in ("run.json", "history.json", "spec.json", "config.yaml"):
        file = folder / "results" / "runs" / finished_run(folder) / kind
    file.write_bytes(flipped(file.read_bytes(), bit % (8 * file.stat().st_size)))
    refused = False
    commands = (evaluate(clean), ("table1", "--records", RECORDS), ("status",), SWEEP)
    for command in commands:
        ended = posgen(folder, *command, **(HOW if command == SWEEP else {}))
        complaints = [line for line in ended.err.splitlines() if line.startswith("posgen: error: ")]
        assert ended.status in (0, 2), (kind, bit, command, ended)
        assert len(complaints) == (ended.status == 2), (kind, bit, command, ended)
        refused |= ended.status == 2 or "unreadable" in ended.out
        expected = _undisturbed(clean, folder, command)
        if ended.status == 0 and "unreadable" not in ended.out and "ends within a line" not in ended.err:
            assert _without_times(ended.out) == _without_times(expected), (kind, bit, command)
    assert not refused or file.exists()
    if not refused:
        before, after = numbers(clean / "results"), numbers(folder / "results")
        changed = [path for path in before if "runs/records" not in path and before[path] != after.get(path)]
        assert not [path for path in changed if "spec" not in path and "config" not in path], (kind, bit, changed)
    shutil.rmtree(folder)
    return "refused" if refused else "harmless"


_SAID: dict[tuple[str, ...], str] = {}


def _undisturbed(clean: Path, folder: Path, command: tuple[str, ...]) -> str:
    """What the command prints in the clean folder's copy."""
    if command not in _SAID:
        copy = folder.with_name(f"{folder.name}-undisturbed")
        shutil.copytree(clean, copy)
        _SAID[command] = posgen(copy, *command, **(HOW if command == SWEEP else {})).out
        shutil.rmtree(copy)
    return _SAID[command]


def _without_times(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "", text)


@pytest.mark.parametrize("kind", ["run.json", "weights", "records"])
@pytest.mark.slow
def test_commands(place: Path, clean: Path, kind: str) -> None:
    assert told_or_harmless(clean, place / f"flip-{kind}", kind, 2345) == "refused"


@pytest.mark.slow
def test_commands_at_random(place: Path, clean: Path) -> None:
    chance, counted = random.Random(5549), Counter[str]()
    for number in range(200):
        kind = list(KINDS)[number % len(KINDS)]
        counted[told_or_harmless(clean, place / f"flips-{number}", kind, chance.randrange(10**6))] += 1
    print(f"\nfaults: {counted.total()} bit flips, four commands each: {dict(counted)}")
