"""Writing a file so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posgen import leftovers
from posgen.errors import UserError

_CHUNK = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write the new content to; it replaces `path` at the end. Makes missing folders.

    Raises UserError naming the path when it cannot be written; the old file then stays as it was.
    """
    beside = leftovers.beside(path)
    leftovers.clear(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path} ({reason}): name a place that you can write to") from None
    finally:
        if beside.exists():
            beside.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file; `replacing` says how."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def checksum(path: Path) -> str:
    """The sha256 of a file, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
