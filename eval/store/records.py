"""The record store: files of JSON lines, from which every table and figure is drawn.

A line (eval.store.record_lines) is a record (eval.store.kinds), which names the training that it belongs to, or a
training: what all its records share, the resolved configuration above all, stands once a file. Adding records appends
to the file and rewrites nothing. Needs neither torch nor pandas.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, overload

import msgspec
from filelock import Timeout

from eval.store.claims import writing
from eval.store.kinds import AccuracyRecord, Key, Record, Training
from eval.store.record_lines import (
    KINDS,
    MALFORMED,
    Kind,
    OtherKindError,
    UndescribedError,
    check_storable,
    complaint,
    lines_of,
    parsed,
    training_of,
    whole,
)
from eval.store.seal import is_sealed
from posgen.errors import UserError, os_error_reason, os_error_remedy

LOCK = ".lock"
"""The file beside a store that its writers lock; it stays, and git ignores it."""
_WAIT = 600.0  # seconds for another process that writes


def append(path: Path, new: Iterable[Record]) -> None:
    """Add records to the file at `path`. Of records with equal keys the last one counts (`load`).

    Several processes may add to one file at once. A process that is killed in the middle leaves a torn last line, which
    readers leave out and the next writer removes. Raises UserError when a record is malformed or cannot be written; the
    file then stays as it was.
    """
    records = list(new)
    for record in records:
        check_storable(record)
    if not records:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appending costs the same however long the file is, and `posgen lengths` adds to its file hundreds of times.
        # The lock covers reading too: which trainings the file describes must still hold when the records are written.
        with writing(path.parent / LOCK, _WAIT), path.open("r+b" if path.exists() else "w+b") as file:
            described = _recover(file)
            _write(file, b"".join(lines_of(records, described)))
    except Timeout:
        raise UserError(f"{path} is being written by another process for {_WAIT:.0f} s; try again later") from None
    except OSError as error:
        raise UserError(f"cannot write {path} ({os_error_reason(error)}): {os_error_remedy(error)}") from None


@overload
def load(*paths: Path) -> list[AccuracyRecord]: ...
@overload
def load(*paths: Path, kind: type[Kind]) -> list[Kind]: ...
def load(*paths: Path, kind: type[Any] = AccuracyRecord) -> list[Any]:
    """All records of the files, in the order in which their keys first appear; of equal keys the last one counts.

    Raises UserError naming the file, the line and the remedy when a file is missing, a line is not a record, or the
    records are of another kind.
    """
    records: dict[Key, Any] = {}
    for path in paths:
        for record in _read(path, kind):
            older = records.get(record.key)
            records[record.key] = record if older is None else record.merged(older)
    return list(records.values())


@overload
def load_if_there(path: Path) -> list[AccuracyRecord]: ...
@overload
def load_if_there(path: Path, kind: type[Kind]) -> list[Kind]: ...
def load_if_there(path: Path, kind: type[Any] = AccuracyRecord) -> list[Any]:
    """`load`, or no record where there is no file yet."""
    return load(path, kind=kind) if path.exists() else []


def _recover(file: Any) -> set[str]:
    """The ids of the trainings in the file. Leaves the file at its end, a torn last line removed."""
    described = set()
    end, last = 0, b"\n"
    for line in file:
        # Only the last line can lack its newline: it is torn, unless its JSON is whole (`_read` then counts it too).
        if not line.endswith(b"\n") and not whole(line):
            break
        end, last = end + len(line), line
        if training := training_of(line):  # parsing every line would make appending slow
            described.add(training)
    file.seek(end)
    file.truncate()
    if not last.endswith(b"\n"):  # a file that an editor left without it
        file.write(b"\n")
    return described


def _write(file: Any, data: bytes) -> None:
    """Write at the end, whole or not at all."""
    # A full disk or Ctrl-C would leave half a line here, and this process lives on: cut it off at once.
    start = os.fstat(file.fileno()).st_size
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        # By descriptor, and closing the raw file: closing the buffered one would write its remaining bytes once more.
        os.ftruncate(file.fileno(), start)
        file.raw.close()
        raise


def check(path: Path) -> tuple[int, int, list[str]]:
    """(records of whatever kind, how many lines carry no digest, what is wrong with the others): every line is looked
    at, where `load` stops at the first that is damaged. UserError when the file cannot be read."""
    records, unsealed, complaints = 0, 0, []
    trainings: dict[str, Training] = {}
    lost = set()  # trainings whose line is damaged: their records are not at fault
    for number, line in _numbered(path):
        try:
            try:
                record: Record | None = parsed(line, AccuracyRecord, trainings)
            except OtherKindError as error:
                if error.kind not in KINDS:
                    raise ValueError(f"kind={error.kind} is unknown") from None
                record = parsed(line, KINDS[error.kind], trainings)
        except UndescribedError as error:
            if error.training not in lost:
                complaints.append(_of_line(path, number, error))
        except MALFORMED as error:
            complaints.append(_of_line(path, number, error))
            if training := training_of(line):
                lost.add(training)
        else:
            records += record is not None
            unsealed += not is_sealed(line)
    return records, unsealed, complaints


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a device or a pipe might never end
            raise UserError(f"cannot read the records {path} (it is not a file): check the path given to --records")
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        misnamed = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        remedy = "check the path given to --records" if misnamed else os_error_remedy(error, "--records")
        raise UserError(f"cannot read the records {path} ({os_error_reason(error)}): {remedy}") from None
    lines = content.split(b"\n")
    # After the last newline stands what is being written right now, or what a killed process left. No lock for readers:
    # a table can be drawn while a sweep runs, and from a folder that cannot be written.
    if lines[-1].strip() and not whole(lines[-1]):
        print(
            f"posgen: {path} ends within a line: a record is being written, or its writer was killed", file=sys.stderr
        )
        lines.pop()
    yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _of_line(path: Path, number: int, error: Exception) -> str:
    # A ValidationError is a DecodeError too, but of valid JSON.
    is_json = not isinstance(error, msgspec.DecodeError) or isinstance(error, msgspec.ValidationError)
    said = complaint(error) if is_json else "is not a whole JSON record"
    return (
        f"{path}, line {number}: {said}; restore the file, or delete that line and run the same sweep again "
        "(finished members are not trained again)"
    )


def _read(path: Path, kind: type[Kind]) -> Iterator[Kind]:
    trainings: dict[str, Training] = {}
    for number, line in _numbered(path):
        try:
            record = parsed(line, kind, trainings)
        except MALFORMED as error:
            raise UserError(_of_line(path, number, error)) from None
        except OtherKindError as error:
            shown = KINDS[error.kind].shown_by if error.kind in KINDS else "another command"
            raise UserError(
                f"{path} holds records of kind {error.kind}, and this takes {kind.kind}: show them with "
                f"`{shown} --records {path}`"
            ) from None
        if record is not None:
            yield record
