"""Whether a declaration was committed before the records that were made for it, as far as git can tell.

A record names the commit of the code that trained and measured it. If the declaration's file in that commit has the
digest that the record carries, then nothing that came out can have shaped the declaration.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from conf import files
from conf.experiments import Experiment, parsed
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

ROOT = files.FOLDER.resolve().parent
"""The folder of the packages, which is a git work tree where the suite was cloned."""


@dataclass(frozen=True)
class Commits:
    """How many trainings were made by a commit that `holds` the declaration, by one that has none or another
    (`lacks`), or by one that git here does not know (`unknown`). By role: trained, measured. `commits`: those of
    `lacks`, shortened."""

    trained: tuple[int, int, int]
    measured: tuple[int, int, int]
    lacking: tuple[str, ...]

    @property
    def shown(self) -> bool:
        """Whether every number was made by code that held the declaration."""
        return not any((*self.trained[1:], *self.measured[1:]))


def commits(experiment: Experiment, file: Path, records: Sequence[AccuracyRecord], root: Path = ROOT) -> Commits:
    """What git says of the commits that records name. `file`: the declaration's, which belongs to the suite's work tree
    or is unknown to git."""
    place = file.resolve().relative_to(root).as_posix() if root in file.resolve().parents else ""
    known: dict[str | None, bool | None] = {None: None}

    def asked(commit: str | None) -> bool | None:
        if commit not in known:
            known[commit] = _holds(experiment, place, commit or "", root) if place else None
        return known[commit]

    trained: dict[str, set[bool | None]] = {}
    measured: dict[str, set[bool | None]] = {}
    for record in records:
        trained.setdefault(record.run_id, set()).update(asked(maker.git_commit) for maker in record.trained_by)
        measured.setdefault(record.run_id, set()).add(asked(record.measured_by.git_commit))
    lacking = tuple(sorted(commit[:12] for commit, holds in known.items() if commit and holds is False))
    return Commits(_counts(trained), _counts(measured), lacking)


def _counts(by_run: dict[str, set[bool | None]]) -> tuple[int, int, int]:
    """(holds, lacks, unknown): a run is only as good as the least of its makers."""
    lacks = sum(False in answers for answers in by_run.values())
    unknown = sum(False not in answers and None in answers for answers in by_run.values())
    return len(by_run) - lacks - unknown, lacks, unknown


def _holds(experiment: Experiment, place: str, commit: str, root: Path) -> bool | None:
    """Whether a commit's declaration has this digest; None where git is not there or does not know the commit."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root:
            return None  # installed inside another repository
        _git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.SubprocessError):
        return None
    try:
        text = _git(root, "show", f"{commit}:{place}")
        node = yaml.safe_load(text)
        return isinstance(node, dict) and parsed(node, experiment.name, place).digest == experiment.digest
    except (OSError, subprocess.SubprocessError, yaml.YAMLError, UserError):
        return False


def _git(root: Path, *words: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30)
    return run.stdout


def sentence(found: Commits, experiment: Experiment) -> str:
    """What a reader should know: one or two sentences."""
    total = sum(found.trained)
    if found.shown:
        return (
            f"Declared before: the declaration stood, with digest {experiment.digest}, in every commit that trained "
            f"and measured these {total} trainings."
        )
    parts = []
    for verb, (_, lacks, unknown) in (("trained", found.trained), ("measured", found.measured)):
        if lacks:
            parts.append(f"{lacks} of {total} were {verb} by a commit without this declaration")
        if unknown:
            parts.append(f"of {unknown} of {total} it cannot tell which commit {verb} them")
    where = f" ({', '.join(found.lacking)})" if found.lacking else ""
    return f"Not shown to be declared before: git says that {'; '.join(parts)}{where}. Digest {experiment.digest}."
