"""L-Eval's files: documents with questions (JSON lines), and predictions in the authors' format. Rows are checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.measuring.llm.leval.tasks import Task
from eval.store.files import checksum
from posgen.errors import BadValue, UserError, os_error_reason

SUFFIX = "_pred"
"""What the key of a prediction ends with; the model's name stands before it."""


@dataclass(frozen=True)
class Document:
    """A text and the questions about it with their gold answers, equally many."""

    text: str
    instructions: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class TaskData:
    """All documents of a task, and the sha256 of the file, 16 hex digits."""

    task: Task
    documents: tuple[Document, ...]
    sha: str

    @property
    def questions(self) -> int:
        return sum(len(document.instructions) for document in self.documents)


@dataclass(frozen=True)
class Prediction:
    """A row of a file of predictions: the question, its gold answer and what the model said."""

    line: int
    query: str
    gold: str
    prediction: str


def read_task(folder: Path, task: Task) -> TaskData:
    """The task's file below a folder, `coursera.jsonl`. UserError that names file, line and field where a row is not
    as L-Eval has it."""
    if not folder.is_dir():
        raise BadValue("data", folder, "is no folder; name the one with L-Eval's Closed-ended-tasks/*.jsonl")
    names = dict.fromkeys((task.file, task.name))
    path = next((file for name in names if (file := folder / f"{name}.jsonl").is_file()), None)
    if path is None:
        raise BadValue("data", folder, f"has no {task.file}.jsonl; put it there, or leave {task.name} out of --tasks")
    documents = tuple(_document(path, number, row) for number, row in _rows(path))
    if not documents:
        raise UserError(f"{path} has no rows; restore the file")
    return TaskData(task, documents, checksum(path)[:16])


def read_predictions(path: Path) -> list[Prediction]:
    """All rows of a file of predictions. UserError that names file, line and field where one is malformed."""
    rows = [_prediction(path, number, row) for number, row in _rows(path)]
    if not rows:
        raise UserError(f"{path} has no rows; name a file of predictions")
    return rows


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({os_error_reason(error)}); check the path") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number}: is not JSON; restore the file") from None
        if not isinstance(row, dict):
            raise _wrong(path, number, "is no JSON object")
        yield number, row


def _document(path: Path, number: int, row: dict[str, Any]) -> Document:
    for key in ("instructions", "outputs"):
        value = row.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise _wrong(path, number, f"{key} should be a list of texts, at least one")
    if not isinstance(row.get("input"), str):
        raise _wrong(path, number, "input should be a text")
    if row.get("evaluation") != "exam":
        raise _wrong(path, number, f"evaluation should be exam, not {row.get('evaluation')!r}")
    if len(row["instructions"]) != len(row["outputs"]):
        counts = f"{len(row['instructions'])} instructions and {len(row['outputs'])} outputs"
        raise _wrong(path, number, f"has {counts}; they should be equally many")
    return Document(row["input"], tuple(row["instructions"]), tuple(row["outputs"]))


def _prediction(path: Path, number: int, row: dict[str, Any]) -> Prediction:
    keys = [key for key in row if key.endswith(SUFFIX)]
    if len(keys) != 1:
        raise _wrong(path, number, f"has {len(keys)} keys that end in {SUFFIX}; it should have one")
    for key in ("query", "gt", keys[0]):
        if not isinstance(row.get(key), str):
            raise _wrong(path, number, f"{key} should be a text")
    return Prediction(number, row["query"], row["gt"], row[keys[0]])


def _wrong(path: Path, number: int, complaint: str) -> UserError:
    return UserError(f"{path}, line {number}: {complaint}; restore the file")
