"""Mistakes of a user, reported in one line each: the command line prints the line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user can correct. The message is one line and ends with the remedy."""


class BadValue(UserError):
    """A value that is out of range or unknown. `key` is the field's own name; the configuration adds its group."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        self.key, self.value, self.remedy = key, value, remedy
        super().__init__(f"{key}={value}: {remedy}")

    def under(self, group: str) -> BadValue:
        """The same error with the group in front of the key: `dropout` becomes `model.dropout`."""
        return BadValue(f"{group}.{self.key}", self.value, self.remedy)


class MissingPackage(ModuleNotFoundError, UserError):
    """An optional package that is not installed: an import that fails, and a mistake that the user can correct."""


def require(condition: bool, key: str, value: object, remedy: str) -> None:
    """Raise `BadValue(key, value, remedy)` unless the condition holds."""
    if not condition:
        raise BadValue(key, value, remedy)


def told(error: BaseException) -> str:
    """An exception of other people's code in one line: its type and message."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def nearest(word: str, known: Iterable[str]) -> str:
    """`one of a, b, c`, or `did you mean a? (one of ...)` when a known word is close to what was typed."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listing = f"one of {', '.join(known)}"
    return f"did you mean {close[0]}? ({listing})" if close else listing
