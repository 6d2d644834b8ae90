"""`posgen` as a user types it, in this process."""

from __future__ import annotations

import pytest

from cli.main import main


def run(*arguments: str) -> int:
    """The exit status of `posgen ARGUMENTS`."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)
