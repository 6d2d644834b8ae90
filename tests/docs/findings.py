"""docs/findings.md and the committed tables that its numbers are read from."""

from __future__ import annotations

import csv
import math
import re

from tests.committed import ROOT, results

FINDINGS = (ROOT / "docs" / "findings.md").read_text()


def section(title: str) -> str:
    """What stands under the heading of this title, up to the next one. IndexError without such a heading."""
    return FINDINGS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def csv_rows(name: str) -> list[dict[str, str]]:
    """The rows of a table below results/, as it is committed."""
    with (results() / name).open() as file:
        return list(csv.DictReader(file))


FAST = [w for w in (2 * math.pi * 10_000 ** (2 * j / 64) for j in range(32)) if w < 64]
"""RoPE's wavelengths, of heads of 64 dimensions, that are shorter than the training length."""


def quoted(text: str, profile: str, experiment: str) -> list[str]:
    """The lines that a section quotes from the page of a judged experiment, every one of which stands there."""
    mark = f"<!-- judged: {profile} {experiment} -->\n(.*?)\n<!-- /judged -->"
    lines = [line for block in re.findall(mark, text, flags=re.DOTALL) for line in block.splitlines()]
    page = (results() / profile / "experiments" / experiment / f"{experiment}.md").read_text().splitlines()
    assert [line for line in lines if line not in page] == []
    return lines
