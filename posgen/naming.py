"""Names that become parts of paths, checked in one place."""

from __future__ import annotations

import re

from posgen.errors import require

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=~-]{0,99}")


def check_name(key: str, value: str) -> None:
    """Raise BadValue unless a value can name a file or folder and nothing outside of it: no separator, no `..`."""
    require(
        isinstance(value, str) and bool(_NAME.fullmatch(value)),
        key,
        str(value)[:60],
        "use 1 to 100 letters, digits and _ . + = ~ - and begin with a letter or digit (it names a file)",
    )
