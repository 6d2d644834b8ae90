"""Writing a file so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from posgen.errors import UserError


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and put it in its place. Makes missing folders.

    Raises UserError naming the path when it cannot be written; the old file then stays as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path} ({reason}): name a place that you can write to") from None
    finally:
        if beside.exists():
            beside.unlink()
