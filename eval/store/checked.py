"""Small files that carry a digest of their own content, so that a changed one is refused and never read as it is.

JSON holds it under the key `digest`, a text in its first line. Files without one, as earlier versions wrote them, are
read unchecked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from eval.store.files import write_atomically
from posgen.errors import UserError, told
from posgen.plain import digest

_HEAD = "# sha256 of the lines below: "


def write(file: Path, content: Mapping[str, Any]) -> None:
    """A JSON object with its digest."""
    write_atomically(file, (json.dumps({**content, "digest": digest(content)}, indent=1) + "\n").encode())


def read(file: Path, shape: Any, remedy: str) -> dict[str, Any] | None:
    """The JSON object of a file, which has to be of this shape (msgspec); None where there is no file. UserError, with
    the remedy, when it is damaged."""
    content = _bytes(file)
    if content is None:
        return None
    try:
        node = msgspec.json.decode(content)
        msgspec.convert(node, shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({told(error)}); {remedy}") from None
    value = dict(node)
    written = value.pop("digest", None)
    if (written is None and _under_another_key(value)) or (written is not None and written != digest(value)):
        raise UserError(f"{file} does not have its digest: it was damaged or edited; {remedy}")
    return value


def _under_another_key(value: dict[str, Any]) -> bool:
    """Whether a digest of the rest is there, but its key was damaged: that is no older file without one."""
    return any(
        isinstance(said, str) and said == digest({k: v for k, v in value.items() if k != key})
        for key, said in value.items()
    )


def write_text(file: Path, text: str) -> None:
    """A text in which a line that begins with # is a comment, after a line with its sha256."""
    write_atomically(file, f"{_HEAD}{_sha256(text)}\n{text}".encode())


def read_text(file: Path, remedy: str) -> str | None:
    """The text of a file; None where there is no file. UserError, with the remedy, when it is damaged."""
    content = _bytes(file)
    if content is None:
        return None
    head, newline, text = content.decode(errors="replace").partition("\n")
    if not head.startswith("#") and _HEAD[1:] not in head:  # with another first character it may read as a key
        return head + newline + text
    if head != f"{_HEAD}{_sha256(text)}":
        raise UserError(f"{file} does not have its checksum: it was damaged or edited; {remedy}")
    return text


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): let this user read it") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
