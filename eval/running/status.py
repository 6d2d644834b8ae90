"""Where every member of a planned sweep stands, and why. Reads what is on disk; makes, trains and writes nothing."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.measuring.planned import PlannedMember, Target
from eval.running.job import RunSettings, complete
from eval.store import provenance
from eval.store.kinds import AccuracyRecord, Maker
from eval.store.locks import alive, held
from eval.store.records import load_if_there
from eval.store.runs import DONE, Run, is_run_id
from models.spec import MemberSpec
from posgen.errors import UserError
from posgen.plain import plain, restore

STATES = {
    "done": "trained and measured",
    "diverged": "its numbers ran out of range; recorded, there is nothing left to do",
    "stale": "trained, but by other code or under other settings",
    "running": "a process has it",
    "stopped": "stopped at an epoch as asked; goes on without --until",
    "interrupted": "ended before its last step; the same sweep goes on from its state",
    "failed": "ended in an error; the same sweep tries again from its state",
    "unmeasured": "trained, not measured; the same sweep measures it",
    "recorded": "its records are here, its run is not; the same sweep would train it again",
    "damaged": "a file of it cannot be read, or is not what was written",
    "missing": "not begun",
}
"""Every state of a member, in the order in which they are counted."""
LEFT = ("stopped", "interrupted", "failed", "unmeasured", "recorded", "missing")
"""Those in which a sweep has something to do."""


@dataclass(frozen=True)
class MemberStatus:
    """A planned member and its state, one of `STATES`. `detail`: the rest in words. `info`: its run.json, of another
    run of the same entries where it is stale by its settings; `recorded`: those of its targets that have a record;
    `differs`: by dotted key, the value that run was trained with and the one that is asked for."""

    member: PlannedMember
    state: str
    detail: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    recorded: tuple[Target, ...] = ()
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepStatus:
    """`members` in the plan's order. `problem`: why records cannot be read, empty where they can."""

    members: tuple[MemberStatus, ...]
    problem: str = ""


def status_of(members: Sequence[PlannedMember], settings: RunSettings) -> SweepStatus:
    """Look at every member of a plan. What cannot be read is told in its place and raises nothing."""
    # Locks before records: a process that lets go of a run has recorded it by then.
    locked = {member.spec.run_id: _held(settings.runs_dir / member.spec.run_id) for member in members}
    problem, measured = "", list[AccuracyRecord]()
    try:
        measured = load_if_there(settings.records_path)
    except (UserError, OSError) as error:
        problem = " ".join(str(error).split())
    by_run: dict[str, list[AccuracyRecord]] = {}
    for record in measured:
        by_run.setdefault(record.run_id, []).append(record)
    others = _Others(settings, {member.spec.run_id for member in members})
    return SweepStatus(
        tuple(_status(m, settings, by_run.get(m.spec.run_id, []), locked[m.spec.run_id], others) for m in members),
        problem,
    )


def _status(
    member: PlannedMember, settings: RunSettings, measured: Sequence[AccuracyRecord], locked: bool, others: _Others
) -> MemberStatus:
    targets = tuple(
        t for t in member.targets
        if any((t.pe, t.test_encoding, t.accuracy) == (r.pe, r.test_encoding, r.accuracy_mode) and
               t.protocol in r.protocols for r in measured)
    )  # fmt: skip
    run = Run(settings.runs_dir, member.spec.run_id)
    try:
        info = run.info()
        locked = locked or held(run.path)  # taken since: what run.json says is of a process that goes on
        if complete(member, run, measured, settings.until):
            state, detail = _complete(run, info, measured)
        elif locked:
            state, detail = "running", _who(info, run.covers(member.spec))
        elif run.done:
            state, detail = _unmeasured(run, member.spec)
        elif not info:
            if len(targets) == len(member.targets):
                return MemberStatus(member, "recorded", recorded=targets)
            return others.of(member) or MemberStatus(member, "missing", recorded=targets)
        else:
            state, detail = _unfinished(run, info)
    except (UserError, OSError) as error:
        return MemberStatus(member, "damaged", " ".join(str(error).split()), recorded=targets)
    return MemberStatus(member, state, detail, info, targets)


def _held(folder: Path) -> bool:
    try:
        return held(folder)
    except UserError:  # `_status` asks again, and tells why it cannot be known
        return False


def _complete(run: Run, info: Mapping[str, Any], measured: Sequence[AccuracyRecord]) -> tuple[str, str]:
    """Of a member that is trained and measured."""
    if run.status == "diverged":
        at = info.get("diverged_at") or {}
        return "diverged", f"at step {at.get('step', '?')} because {at.get('reason', 'of an unknown reason')}"
    for verb, makers in (
        ("trained", measured[-1].trained_by if measured else ()),
        ("measured", [record.measured_by for record in measured]),
    ):
        for maker in makers:
            # None: of a version that kept no hash, so that nothing can be said of it.
            if maker.source not in (None, provenance.SOURCE):
                remedy = f"this is source {provenance.SOURCE}, and --fresh trains it again"
                return "stale", f"{verb} by other code, {_code(maker)}; {remedy}"
    return "done", ""


def _code(maker: Maker) -> str:
    commit = f"commit {maker.git_commit[:12]}" if maker.git_commit else "an unknown commit"
    return f"{commit}{' with uncommitted changes' if maker.git_dirty else ''}, source {maker.source}"


def _unmeasured(run: Run, spec: MemberSpec) -> tuple[str, str]:
    if not run.covers(spec):
        further = ", ".join(label for label in spec.labels if label not in run.result().chosen)
        return "unmeasured", f"no checkpoint was chosen for {further}; the same sweep trains it again for that"
    for label in run.result().chosen:
        if not (file := run.path / f"weights-{label}.safetensors").exists():
            raise UserError(f"{file} is missing, and it is not measured: train this member again with --fresh")
    return "unmeasured", ""


def _unfinished(run: Run, info: Mapping[str, Any]) -> tuple[str, str]:
    """Of a run that nobody has. run.json is its last word, which a process that was killed could not change."""
    status, far = str(info.get("status")), _epochs(info)
    if status in DONE:
        raise UserError(f"{run.path / 'history.json'} is missing: put it back, or the same sweep trains it again")
    if status == "running":
        return "interrupted", f"{far}, by a process that ended without saying so{_place(info)}"
    if status == "failed":
        return "failed", f"{info.get('reason') or 'for an unknown reason'} ({far})"
    return ("stopped" if status == "stopped" else "interrupted"), f"{far}, saved {info.get('updated') or '?'}"


def _who(info: Mapping[str, Any], done: bool) -> str:
    """Where a run that some process has is running, and how far it is."""
    here = info.get("host") == socket.gethostname()
    begun = info.get("status") == "running" and not (here and not alive(int(info.get("pid") or 0)))
    if done:
        return "trained, being measured"
    if not begun:  # run.json is still the word of an earlier process
        return f"has just begun{', from ' + _epochs(info) if info.get('epoch') else ''}"
    return f"{_epochs(info)}{_place(info)}"


def _epochs(info: Mapping[str, Any]) -> str:
    return f"epoch {info.get('epoch', '?')} of {info.get('epochs', '?')}"


def _place(info: Mapping[str, Any]) -> str:
    if not info.get("host"):
        return ""
    return f", on {info['host']}, process {info.get('pid', '?')}, since {info.get('since', '?')}"


class _Others:
    """Runs that are not in the plan and fill the same entries: what was trained under other settings."""

    def __init__(self, settings: RunSettings, planned: set[str]) -> None:
        self.settings, self.planned = settings, planned
        self._entries: dict[tuple[Any, ...], list[tuple[Run, dict[str, Any]]]] | None = None

    def of(self, member: PlannedMember) -> MemberStatus | None:
        """The last such run, as `stale`; None without one whose settings differ."""
        if self._entries is None:
            self._entries = {}
            for entry, run, info in self._runs():
                self._entries.setdefault(entry, []).append((run, info))
        spec = member.spec
        for target in member.targets:
            entry = (spec.task.name, spec.train_encoding.name, spec.seed, target.protocol, target.pe)
            for run, info in reversed(self._entries.get(entry, [])):
                if differs := differences(run.path / "spec.json", spec):
                    detail = f"run {run.run_id} ({info.get('status')}) has other settings: {_told(differs)}"
                    return MemberStatus(member, "stale", detail, info, differs=differs)
        return None

    def _runs(self) -> Iterator[tuple[tuple[Any, ...], Run, dict[str, Any]]]:
        found = []
        for file in self.settings.runs_dir.glob("*/run.json"):
            if not is_run_id(file.parent.name):
                continue
            run = Run(self.settings.runs_dir, file.parent.name)
            try:
                info = run.info()
                if run.run_id not in self.planned and info.get("profile") == self.settings.profile:
                    found.append((str(info.get("updated")), run.run_id, run, info))
            except (UserError, OSError):
                continue  # it is listed by `posgen status --runs`
        for _, _, run, info in sorted(found, key=lambda entry: entry[:2]):
            for protocol, pe, *_ in info.get("cells") or ():
                yield (info.get("task"), info.get("train_encoding"), info.get("seed"), protocol, pe), run, info


def differences(file: Path, spec: MemberSpec) -> dict[str, tuple[Any, Any]]:
    """By dotted key, the values of a stored spec.json and of a specification where they differ. Empty where they do
    not, or in what is tested and chosen alone, or where the file cannot be read."""
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict):
        return {}
    stored.pop("digest", None)
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # of a version with other fields
        stored = plain(restore(MemberSpec, stored))  # fields that came later have their defaults
    then, now = _flat(stored), _flat(plain(spec))
    keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    trained = [key for key in keys if key.partition(".")[0] not in ("test_encodings", "selection", "accuracy")]
    return {key: (then.get(key), now.get(key)) for key in trained}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _told(differs: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key}={then}, now {now}" for key, (then, now) in differs.items())
