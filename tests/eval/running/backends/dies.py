"""The process of a job that always dies, in a module that takes no time to import."""

from __future__ import annotations

import os


def dies(*_: object) -> None:
    """Instead of a job's work."""
    os._exit(7)
