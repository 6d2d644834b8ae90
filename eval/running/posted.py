"""Posted sweeps: lists of jobs in a results folder, from which `posgen work` takes them on any machine that sees it.

results/queue/<digest>.json is plain data: specifications as they stand in run folders, paths relative to the results
folder, which may be mounted elsewhere on another machine. Nothing in it is run: code of somebody's own that it names
has to be named by the worker's command line too.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from conf.environment import as_written
from conf.schema import TrackerKind, TrackerSpec
from eval.measuring.planned import PlannedMember, Target
from eval.running.job import Job, RunSettings
from eval.store.files import write_atomically
from eval.store.kinds import Declared
from eval.store.provenance import SOURCE, git_state
from eval.store.runs import now
from models.spec import MemberSpec
from posgen.errors import BadValue, UserError, told
from posgen.own_code import refuse_untrusted
from posgen.plain import digest, plain, restore

FOLDER = "queue"
SCHEMA = 1


class Member(msgspec.Struct, frozen=True):
    """A planned member, as plain containers."""

    spec: dict[str, Any]
    targets: list[dict[str, str]]
    config: dict[str, Any]


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of the settings goes along; device and threads are the worker's. Paths are relative to the results
    folder."""

    runs: str
    data: str
    records: str
    sweep: str
    profile: str
    until: int | None
    compiled: bool | None
    save_seconds: float
    tracker: dict[str, Any]
    experiment: Declared | None = None


class Posted(msgspec.Struct, frozen=True):
    """A file of the queue. `source`: the digest of the code that planned it; `commit`: its git commit, if known."""

    schema: int
    posted: str
    by: str
    source: str
    commit: str | None
    settings: Settings
    jobs: list[list[Member]]


def portable(settings: RunSettings, results: Path) -> Settings:
    """What goes along of the settings. BadValue for those that other machines could not follow."""
    tracker = plain(settings.tracker)
    if as_written({"tracker": tracker}) != {"tracker": tracker}:
        remedy = "takes a value from the environment, which other machines lack; write it out, or use tracker=none"
        raise BadValue("tracker", settings.tracker.kind.value, remedy)
    if settings.tracker.kind is not TrackerKind.none:
        tracker["directory"] = _relative(results, Path(settings.tracker.directory), "tracker.directory")
    return Settings(
        runs=_relative(results, settings.runs_dir, "paths.runs"),
        data=_relative(results, settings.data_dir, "paths.data"),
        records=_relative(results, settings.records_path, "paths.runs"),
        sweep=settings.sweep,
        profile=settings.profile,
        until=settings.until,
        compiled=settings.compiled,
        save_seconds=settings.save_seconds,
        tracker=tracker,
        experiment=settings.experiment,
    )


def post(jobs: Sequence[Job], results: Path) -> Path:
    """Write the jobs of one sweep into the queue of a results folder; the same jobs are the same file. BadValue as
    `portable` raises it."""
    content = {
        "schema": SCHEMA,
        "source": SOURCE,
        "commit": git_state()[0],
        "settings": msgspec.to_builtins(portable(jobs[0].settings, results)),
        "jobs": [[plain(member) for member in job.members] for job in jobs],
    }
    file = results / FOLDER / f"{digest(content)}.json"
    written = {"posted": now(), "by": socket.gethostname(), **content}
    write_atomically(file, msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")
    return file


def files(results: Path) -> list[Path]:
    """What is posted, the oldest first."""
    return sorted((results / FOLDER).glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))


def read(file: Path, results: Path, device: str, threads: int | None, any_source: bool = False) -> list[Job]:
    """The jobs of a posted sweep, for this machine. UserError where the file is damaged, names code that nobody here
    has named, or was planned by other code than this (unless `any_source`)."""
    try:
        posted = msgspec.json.decode(file.read_bytes(), type=Posted)
        jobs = [[_member(node) for node in members] for members in posted.jobs]
        tracker: TrackerSpec = restore(TrackerSpec, posted.settings.tracker)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): let this user read it") from None
    except (msgspec.MsgspecError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is damaged, or of another version ({told(error)}); post the sweep again") from None
    if posted.schema != SCHEMA:
        raise UserError(
            f"{file} has schema {posted.schema}, and this posgen reads {SCHEMA}; use the posgen of the poster"
        )
    if posted.source != SOURCE and not any_source:
        commit = f" (git commit {posted.commit[:12]})" if posted.commit else ""
        raise UserError(
            f"{file} was posted by other code{commit} than this machine's, whose numbers may differ; install the same "
            "here, or add --any-source"
        )
    settings = posted.settings
    for members in jobs:
        for member in members:
            spec = member.spec
            encodings = (spec.train_encoding, *spec.test_encodings)
            names = (spec.task.h, *(name for encoding in encodings for name in (encoding.kind, encoding.scaling)))
            refuse_untrusted(names, str(file))
    if tracker.kind is not TrackerKind.none:
        tracker = replace(tracker, directory=str(_inside(results, tracker.directory, file)))
    here = RunSettings(
        runs_dir=_inside(results, settings.runs, file),
        data_dir=_inside(results, settings.data, file),
        records_path=_inside(results, settings.records, file),
        sweep=settings.sweep,
        profile=settings.profile,
        device=device,
        compiled=settings.compiled,
        threads=threads,
        until=settings.until,
        tracker=tracker,
        save_seconds=settings.save_seconds,
        experiment=settings.experiment,
    )
    parts = [f"part {number} of {len(jobs)}" * (len(jobs) > 1) for number in range(1, len(jobs) + 1)]
    return [Job(tuple(members), here, part) for members, part in zip(jobs, parts, strict=True)]


def _member(node: Member) -> PlannedMember:
    spec, targets = restore(MemberSpec, node.spec), tuple(restore(Target, target) for target in node.targets)
    strange = {target.test_encoding for target in targets} - spec.labels.keys()
    if strange or not targets:
        raise ValueError(f"a target names {', '.join(strange) or 'nothing'}, which the member is not tested with")
    return PlannedMember(spec, targets, node.config)


def _relative(results: Path, path: Path, key: str) -> str:
    try:
        return path.absolute().relative_to(results.absolute()).as_posix()
    except ValueError:
        remedy = f"backend=post needs it below {results}, which is what other machines see; leave it out"
        raise BadValue(key, path, remedy) from None


def _inside(results: Path, name: str, file: Path) -> Path:
    """A path that a file names, which may not lead out of the results folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UserError(f"{file} names the place {name[:60]!r}, which is not below {results}; post the sweep again")
    return results / path
