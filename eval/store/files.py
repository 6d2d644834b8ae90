"""Writing a file so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from posgen import leftovers
from posgen.errors import UserError, os_error_reason, os_error_remedy

_CHUNK = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write the new content to; it replaces `path` at the end. Makes missing folders.

    Raises UserError naming the path when it cannot be written; the old file then stays as it was.
    """
    _refuse_device(path)
    beside = leftovers.beside(path)
    leftovers.clear(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({os_error_reason(error)}): {os_error_remedy(error)}") from None
    finally:
        with suppress(OSError):
            beside.unlink()


def _refuse_device(path: Path) -> None:
    """Raise UserError for a device or a pipe, such as /dev/null or /dev/stdout: a file would take its place."""
    with suppress(OSError):  # whoever writes there is told
        if path.parent == Path("/dev") or (path.exists() and not path.is_file() and not path.is_dir()):
            raise UserError(f"cannot write {path} (a device or a pipe, no file): name a file that may be replaced")


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
