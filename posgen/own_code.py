"""Code of the user's own (a class of an encoding, an h) and who may run it: the command line, never data alone.

A specification names such code as `package.module:name` or `path/to/file.py:name`. Whoever types that name runs it.
Records, run folders and manifests hold such names too, and may come from somebody else: what they name is run only
when the command line names the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from posgen.errors import UserError

_TRUSTED: set[str] = set()


def is_own(name: str) -> bool:
    """Whether a name stands for code of the user's own and not for a part of this suite."""
    return ":" in name


def trust(*names: str) -> None:
    """Let this process run the code of these names, which somebody typed."""
    _TRUSTED.update(name for name in names if is_own(name))


def refuse_untrusted(names: tuple[str, ...], place: str) -> None:
    """Raise UserError where data at `place` names code that nobody typed."""
    for name in names:
        if is_own(name) and name not in _TRUSTED:
            raise UserError(
                f"{place} names the code {name}, and no file may have code run: read that code, and if you trust it, "
                f"add --code {name}"
            )


def checksum(*files: Path | str) -> str:
    """12 hex digits of the sha256 of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:12]
