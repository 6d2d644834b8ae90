"""The record store: one measurement a line of JSON, from which every table and figure is drawn.

A record is a plain dict; `_FIELDS` names its keys and types. Accuracies are fractions, losses are nats; a number
that does not exist is null, never zero. Reading needs neither torch nor pandas.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.store.files import write_atomically
from posgen.errors import BadValue, UserError, nearest

Record = dict[str, Any]
SCHEMA = 1

_NUMBER = (int, float)
_NULL = type(None)
_FIELDS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "run_id": (str,),
    "sweep": (str,),
    "profile": (str,),
    "protocols": (list,),
    "task": (str,),
    "pe": (str,),
    "train_encoding": (str,),
    "test_encoding": (str,),
    "seed": (int,),
    "status": (str,),
    "split": (str,),
    "accuracy_mode": (str,),
    "selection": (str,),
    "checkpoint_epoch": (int, _NULL),
    "length": (int,),
    "train_length": (int,),
    "metrics": (dict, _NULL),
    "accuracy_by_position": (list, _NULL),
    "history": (list,),
    "diverged_at": (dict, _NULL),
    "config": (dict,),
    "git_commit": (str, _NULL),
    "git_dirty": (bool, _NULL),
    "versions": (dict,),
    "device": (str,),
    "created": (str,),
    "train_seconds": (*_NUMBER, _NULL),
}
STATUSES = ("finished", "stopped", "diverged")
"""How a training ended before its measurement. `stopped`: at epoch `trained_epochs` of a schedule that goes on."""
_METRICS = ("id_accuracy", "ood_accuracy", "loss")
_CONFIG_NODES = ("task", "data", "model", "optim")
_KEY = ("profile", "run_id", "test_encoding", "split", "accuracy_mode", "length", "pe")


def key(record: Record) -> tuple[Any, ...]:
    """The identity of a measurement: of two records with equal keys the later one counts."""
    return tuple(record[name] for name in _KEY)


def append(path: Path, new: Iterable[Record]) -> None:
    """Add records to the file at `path`, replacing those with the same key, in one atomic step.

    A replaced record hands its protocols on to its successor: a run that was swept under `paper` and later under
    `zero_shot` counts in both. Two processes may append to one file at once.

    Raises UserError when a record is malformed or when the file there is damaged; the file then stays as it was.
    """
    new = list(new)
    for record in new:
        if complaint := _complaint(record):
            raise UserError(f"this record cannot be stored: {complaint}; report it with the run id {_run_id(record)}")
    with _locked(path.parent):
        merged = {key(record): record for record in (load(path) if path.exists() else [])}
        for record in new:
            older = merged.get(key(record))
            protocols = [*(older["protocols"] if older else []), *record["protocols"]]
            merged[key(record)] = {**record, "protocols": list(dict.fromkeys(protocols))}
        lines = (json.dumps(record, separators=(",", ":"), allow_nan=False) for record in merged.values())
        write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def load(*paths: Path) -> list[Record]:
    """All records of the files, in their order; of equal keys the last one counts.

    Raises UserError naming the file, the line and the remedy when a file is missing or a line is not a record.
    """
    found: dict[tuple[Any, ...], Record] = {}
    for path in paths:
        for record in _read(path):
            found[key(record)] = record
    return list(found.values())


def sweep_options(profile: str) -> str:
    """The options with which `posgen sweep` makes a profile's records: `--profile quick optim.lr=1` for the profile
    quick+optim.lr=1, `--until 24` for one that was stopped. A long list of settings stands in a profile's name as a
    digest alone: KEY=VALUE for that one (records say them in full; eval/evidence/report/again.py reads them there)."""

    def option(change: str) -> str:
        key, _, value = change.partition("=")
        return f"--until {value}" if key == "until" else shlex.quote(change) if value else "KEY=VALUE"

    base, *changes = profile.split("+")
    return " ".join([f"--profile {base}", *map(option, changes)])


def gather(
    paths: Sequence[Path], profile: str | None, results: Path, sweep: str | None = None, below: str = ""
) -> list[Record]:
    """The records that a table or figure is drawn from: those of ONE profile.

    Without `paths` they come from `results`/<profile>/records.jsonl, of the profile quick unless another is named.
    With `paths` and no profile, all records must belong to one. A folder may hold a changed form of the profile that it
    is named after, such as results/paper that of bf16 products: where that is all it holds, that is meant. `sweep`
    keeps the records of that sweep alone. `below` names a folder of the profile's that holds the records of `posgen
    sweep --<below>`: `ledger`.

    Raises UserError when there are none, or when profiles would be mixed.
    """
    if not paths:
        profile = profile or "quick"
        path = results / profile / below / "records.jsonl"
        if not path.exists():
            others = sorted(other.relative_to(results).parts[0] for other in results.glob(f"*/{below}/records.jsonl"))
            hint = f"there are records of {', '.join(others)}" if others else "there are none of any profile"
            command = " ".join(["posgen sweep", *([f"--{below}"] if below else []), sweep_options(profile)])
            raise UserError(
                f"profile={profile}: no records at {path} ({hint}); make them with `{command}`, or name others with "
                "--records"
            )
        paths = [path]
    records = load(*paths)
    if not records:
        raise UserError(f"{_names(paths)}: no record in it; run `posgen sweep` or name other files with --records")
    profiles = dict.fromkeys(record["profile"] for record in records)
    if profile is None and len(profiles) > 1:
        raise UserError(f"profiles {', '.join(profiles)} are never mixed in one table: choose one with --profile")
    chosen = profile or next(iter(profiles))
    own = all(results / chosen in path.parents for path in paths)
    if own and len(profiles) == 1 and next(iter(profiles)).startswith(f"{chosen}+"):
        chosen = next(iter(profiles))
    if chosen not in profiles:
        raise BadValue("profile", chosen, f"no record of it in {_names(paths)}; {nearest(chosen, profiles)}")
    records = [record for record in records if record["profile"] == chosen]
    sweeps = dict.fromkeys(record["sweep"] for record in records)
    if sweep is not None and sweep not in sweeps:
        raise BadValue("sweep", sweep, f"no record of it in {_names(paths)}; {nearest(sweep, sweeps)}")
    return [record for record in records if sweep in (None, record["sweep"])]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot read the records {path} ({reason}): check the path given to --records") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            complaint: str | None = "is not a whole JSON record"
        else:
            complaint = _complaint(record)
        if complaint:
            raise UserError(
                f"{path}, line {number}: {complaint}; restore the file, or delete that line and run the same sweep "
                "again (finished members are not trained again)"
            )
        yield record


def _complaint(record: Any) -> str | None:
    """What is wrong with a record, or None."""
    if not isinstance(record, dict):
        return "is not a JSON object"
    if record.get("schema") != SCHEMA:
        return f"schema={record.get('schema')}, but this version of posgen reads schema {SCHEMA}"
    for name, types in _FIELDS.items():
        if name not in record:
            return f"the key {name} is missing"
        if not _is(record[name], types):
            wanted = " or ".join("null" if kind is _NULL else kind.__name__ for kind in types)
            return f"{name}={str(record[name])[:40]} should be {wanted}"
    return _complaint_within(record)


def _complaint_within(record: Record) -> str | None:
    if not all(isinstance(name, str) for name in record["protocols"]):
        return "protocols should hold names"
    for node in _CONFIG_NODES:
        if not isinstance(record["config"].get(node), dict):
            return f"config.{node} is missing"
    for dotted in ("data.test_length", "task.modulus"):
        node, name = dotted.split(".")
        if not _is(record["config"][node].get(name), (int,)):
            return f"config.{dotted} is missing"
    if record["status"] not in STATUSES:
        return f"status={record['status']} should be one of {', '.join(STATUSES)}"
    if (record["status"] == "stopped") != _is(record.get("trained_epochs"), (int,)):
        return "trained_epochs should be a whole number when the status is stopped, and only then"
    metrics = record["metrics"]
    if (metrics is None) != (record["status"] == "diverged"):
        return "metrics should be null when the status is diverged, and only then"
    for name in _METRICS if metrics else ():
        if name not in metrics:
            return f"metrics.{name} is missing"
    for name, value in (metrics or {}).items():
        top = 1.0 if name.endswith("accuracy") else math.inf
        if value is not None and not (_is(value, _NUMBER) and 0.0 <= value <= top and math.isfinite(value)):
            return f"metrics.{name}={value} should be {'a fraction from 0 to 1' if top == 1.0 else 'finite'} or null"
    for row in record["history"]:
        if not isinstance(row, dict) or not _is(row.get("epoch"), _NUMBER):
            return "every row of history should have an epoch"
        if not _is(loss := row.get("validation_loss"), (*_NUMBER, _NULL)) or (loss and not math.isfinite(loss)):
            return f"history: validation_loss={loss} at epoch {row['epoch']} should be a finite number or null"
    return None


def _is(value: Any, types: tuple[type, ...]) -> bool:
    """isinstance, but true and false are no numbers."""
    return isinstance(value, types) and (not isinstance(value, bool) or bool in types)


def _run_id(record: Any) -> Any:
    return record.get("run_id") if isinstance(record, dict) else None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two processes that append at once would otherwise lose each other's records.

    Where a folder cannot be locked (some network disks, Windows) the write is still atomic, only not exclusive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
