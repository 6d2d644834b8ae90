"""A file of predictions that grows line by line: what is in it after a kill counts, a torn last line does not.

The rows are those of the authors' files (query, gt, prompt, <model>_pred, evaluation), and `ended`, whether the model
came to an end before max_new_tokens. They hold the data's text: results/runs, where they are, is ignored by git.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posgen.errors import UserError, os_error_reason, os_error_remedy


class AnswerFile:
    """The predictions of one task. `rows` are those that are there; `add` appends one and waits until the disk has it.
    For one process at a time (the run folder is claimed)."""

    def __init__(self, path: Path, expected: Sequence[tuple[str, str]]) -> None:
        """`expected`: (query, gold answer) of the task's questions, in order. UserError when the file holds others."""
        self.path, self.rows = path, list[dict[str, Any]]()
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({os_error_reason(error)}); let this user read it") from None
        for number, line in enumerate(whole.splitlines(), start=1):
            row = _row(line)
            at = len(self.rows)
            if row is None or at >= len(expected) or (row["query"], row["gt"]) != expected[at]:
                raise UserError(f"{path}, line {number}: is not the answer to question {number} of the task; it was "
                                "damaged or edited: move the file away, and the questions are asked again")  # fmt: skip
            self.rows.append(row)

    def add(self, row: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                start = file.tell()
                try:
                    file.write(json.dumps(row).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), start)
                    getattr(file, "raw").close()  # noqa: B009 - closing the buffer would write its rest again
                    raise
        except OSError as error:
            raise UserError(f"cannot write {self.path} ({os_error_reason(error)}): {os_error_remedy(error)}") from None
        self.rows.append(row)

    def sha(self, rows: int) -> str:
        """16 hex digits of the sha256 of the first rows as they stand in the file."""
        lines = self.path.read_bytes().splitlines(keepends=True)[:rows]
        return hashlib.sha256(b"".join(lines)).hexdigest()[:16]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("ended"), bool):
        return None
    keys = ["query", "gt", *(key for key in row if key.endswith("_pred"))]
    return row if len(keys) == 3 and all(isinstance(row.get(key), str) for key in keys) else None
