"""Running the blocks of a page of docs as they stand."""

from __future__ import annotations

import re
import shlex
from typing import Any

from tests.command import run

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page: str) -> dict[str, Any]:
    """Run a page block by block in the working folder: Python blocks in one namespace, which is returned, and every
    line of the others as a `posgen` command, which must end with status 0."""
    names: dict[str, Any] = {}
    for language, text in BLOCK.findall(page):
        if language == "python":
            exec(text, names)
            continue
        for line in text.splitlines():
            assert run(*shlex.split(line)[1:]) == 0, line
    return names
