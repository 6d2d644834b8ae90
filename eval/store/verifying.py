"""Every file of a results folder against its checksum, its shape and the files that it belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.store import records, states
from eval.store.runs import Run, is_run_id
from posgen import dataset, manifest
from posgen.errors import UserError

KINDS = ("record files", "runs", "training states", "data sets")


@dataclass
class Verified:
    """What was checked of one kind: so many `places` (files or folders), what they hold, and a line for each fault."""

    places: int = 0
    contents: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        self.contents[what] = self.contents.get(what, 0) + number


def places_of(folder: Path) -> list[tuple[str, Path]]:
    """(kind, path) of everything below the folder that can be checked, links not followed. UserError where the folder
    cannot be read."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; name one that holds results, runs or data sets")

    def told(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}): let this user read it") from None

    places: list[tuple[str, Path]] = []
    for name, folders, files in os.walk(folder, onerror=told):
        path = Path(name)
        folders[:] = sorted(folders)
        if "records.jsonl" in files:
            places.append(("record files", path / "records.jsonl"))
        if path.name == states.FOLDER:
            places += [("training states", path / file) for file in sorted(files) if file.endswith(".pt")]
        elif manifest.FILE in files:
            places.append(("data sets", path))
        elif is_run_id(path.name) and {"run.json", "spec.json", "history.json"} & set(files):
            places.append(("runs", path))
    return places


def verify(places: Sequence[tuple[str, Path]], ticked: Callable[[], None] = lambda: None) -> dict[str, Verified]:
    """What is at `places`, by kind. Nothing is written, and no code that a file names is run."""
    checks = {
        "record files": _check_records,
        "runs": _check_run,
        "training states": _check_state,
        "data sets": _check_data,
    }
    verified = {kind: Verified() for kind in KINDS}
    for kind, path in places:
        result = verified[kind]
        result.places += 1
        try:
            result.faults += checks[kind](path, result)
        except UserError as error:
            result.faults.append(str(error))
        ticked()
    return verified


def _check_records(path: Path, result: Verified) -> Iterator[str]:
    number, unsealed, faults = records.check(path)
    result.count("records", number)
    if unsealed:
        result.count("lines of an older schema, without a digest", unsealed)
    yield from faults


def _check_run(path: Path, result: Verified) -> Iterator[str]:
    run = Run(path.parent, path.name)
    run.described()
    run.config()
    run.info()
    if not (path / "history.json").exists():
        result.count("that go on")
        return
    for label in run.weighted():
        try:
            run.check_weights(label)
            result.count("files of weights")
        except UserError as error:
            yield str(error)


def _check_state(path: Path, result: Verified) -> Iterator[str]:
    result.count("members' states", len(states.read(path)))
    yield from ()


def _check_data(path: Path, result: Verified) -> Iterator[str]:
    data = dataset.load(path)
    result.count("sequences", sum(len(tokens) for tokens in (data.train, data.validation, data.test)))
    yield from ()
