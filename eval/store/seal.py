"""The digest that a line of records carries of itself: a digit that changed on a disk or in an editor is noticed."""

from __future__ import annotations

import hashlib

_KEY = b',"sha":"'
_DIGITS = 16
_END = len(_KEY) + _DIGITS + len(b'"}')


def sealed(line: bytes) -> bytes:
    """A line of JSON that holds an object, with `sha` as its last key: the sha256, 16 hex digits, of all before it."""
    body = line.removesuffix(b"}")
    return body + _KEY + _digest(body) + b'"}'


def is_sealed(line: bytes) -> bool:
    """Whether the line ends with its own digest. False where there is none, or one of another content."""
    line = line.rstrip()  # an editor may have changed how lines end
    body, end = line[:-_END], line[-_END:]
    return end == _KEY + _digest(body) + b'"}'


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_DIGITS].encode()
