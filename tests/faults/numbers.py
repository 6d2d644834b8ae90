"""Everything below results/ that is a number, to be compared bit for bit, and what nobody should find there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from eval.store import states
from eval.store.files import checksum
from eval.store.kinds import Record
from eval.store.leases import LEASE
from eval.store.records import LOCK, load
from posgen.dataset import load as load_data

# When, how long, by whom and where: what two runs of one thing may differ in.
_OTHERWISE = (
    "created",
    "updated",
    "train_seconds",
    "measured_by",
    "trained_by",
    "population",
    "recorded",
    "pid",
    "host",
    "since",
)


def numbers(results: Path) -> dict[str, Any]:
    """By path: records, outcomes and run.json without times; checksums of weights, data and everything drawn."""
    content: dict[str, Any] = {}
    for file in sorted(results.rglob("*")):
        path = str(file.relative_to(results))
        if file.name == "records.jsonl" and not file.stat().st_size:
            continue  # as good as none
        if file.name == "records.jsonl":
            content[path] = records(file)
        elif file.name in ("run.json", "history.json", "spec.json"):
            # Their digests cover times as well.
            node = json.loads(file.read_bytes())
            content[path] = {key: value for key, value in node.items() if key not in (*_OTHERWISE, "digest")}
        elif file.name == "manifest.json":
            data = load_data(file.parent)
            content[path] = [data.manifest["splits"], *(getattr(data, name).tobytes() for name in ("train", "test"))]
        elif file.suffix in (".safetensors", ".yaml", ".md", ".csv", ".tex"):
            content[path] = checksum(file)
    return content


def records(file: Path) -> dict[str, Any]:
    """Records by key, without times and makers."""
    return {str(record.key): _plain(record) for record in load(file)}


def _plain(record: Record) -> dict[str, Any]:
    node: dict[str, Any] = msgspec.to_builtins(record)
    training = {"config": node.pop("training")["config"]}
    return {key: value for key, value in {**node, **training}.items() if key not in _OTHERWISE}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The paths whose content is not the same, by name."""
    return sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))


def litter(results: Path, twice: bool = False) -> list[str]:
    """What a killed process left and nobody removed: temporary files and folders, states, torn lines, and records that
    are there `twice`, where that is not what the command does."""
    left = [
        str(path.relative_to(results))
        for path in results.rglob("*")
        if (path.name.startswith(".") and not path.name.startswith((LOCK, LEASE, states.FOLDER)))
        or path.suffix in (".tmp", ".new", ".pt")
    ]
    for file in results.rglob("records.jsonl"):
        content = file.read_text(encoding="utf-8")
        if content and not content.endswith("\n"):
            left.append(f"{file.name}: a torn line")
        lines = [json.loads(line) for line in content.splitlines() if line.endswith("}")]
        keys = Counter(_key(line) for line in lines if line["kind"] == "training" or not twice)
        left += [f"{file.name}: {key} {number} times" for key, number in keys.items() if number > 1]
    return left


def _key(line: dict[str, Any]) -> str:
    if line["kind"] == "training":
        return str(line["id"])
    names = ("profile", "run_id", "pe", "test_encoding", "length", "accuracy_mode")
    return " ".join(str(line[name]) for name in names)


def made(results: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the weights and outcomes of runs that are done: both change when a run is trained again."""
    runs = [file.parent for file in (results / "runs").glob("*/history.json")]
    files = [file for run in runs for file in (*run.glob("*.safetensors"), run / "history.json")]
    return {str(file.relative_to(results)): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}
