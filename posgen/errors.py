"""Mistakes of a user, reported in one line each: the command line prints the line and exits with status 2."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

# Characters of a value that a message shows: a line on a screen stays one.
_SHOWN = 100


class UserError(ValueError):
    """Something that the user can correct. The message is one line and ends with the remedy."""


class BadValue(UserError):
    """A value that is out of range or unknown. `key` is the field's own name; the configuration adds its group."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        self.key, self.value, self.remedy = key, value, remedy
        super().__init__(f"{shortened(key)}={shortened(value)}: {remedy}")

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


def shortened(value: object) -> str:
    """A value as text for a message; of a long one the beginning and how long it is."""
    try:
        text = str(value)
    except ValueError:  # a number of more digits than Python writes down
        return "a number of thousands of digits"
    return printable(text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)")


def printable(text: str) -> str:
    """A text without line ends and control characters, `\\x1b` in the place of an escape: it stays one line on every
    screen and cannot move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FILES = (errno.EMFILE, errno.ENFILE)
_MEMORY = (errno.ENOMEM, errno.EAGAIN)


def by_circumstances(error: BaseException) -> bool:
    """Whether reading failed for what the system refused (permission, memory, open files, a failing disk), so that
    the content may well be good. Libraries that misread a file raise without an error number."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def os_error_reason(error: BaseException) -> str:
    """What the system says of a failed call, in words and one line: `No space left on device`."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)  # a library's own text repeats the path
    return " ".join(str(error).split()) or type(error).__name__


def os_error_remedy(error: BaseException, place: str = "paths.results=DIR") -> str:
    """What a user can do about a failed call of the system. `place` is the option or setting that names another place.

    Never to delete anything: a file that cannot be reached now may be whole.
    """
    number = getattr(error, "errno", None)
    if number in _FULL:
        return f"free some, or name another place with {place}"
    if number in _FORBIDDEN:
        return f"allow it (chmod, chown), or name another place with {place}"
    if number in _FILES:
        return "close other programs, or allow more open files (ulimit -n)"
    if number in _MEMORY or isinstance(error, MemoryError):
        return "close other programs, or ask for less (smaller sizes, fewer threads)"
    if number == errno.EIO:
        return "the disk fails: copy what is on it elsewhere, then try again"
    if number == errno.ENAMETOOLONG:
        return "use a shorter name"
    return f"name a place that you can write to, such as {place}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`one of a, b, c`, or `did you mean a? (one of ...)` when a known word is close to what was typed."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listing = f"one of {', '.join(known)}"
    return f"did you mean {close[0]}? ({listing})" if close else listing
