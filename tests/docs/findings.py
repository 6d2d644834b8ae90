"""docs/findings.md and the committed tables that its numbers are read from."""

from __future__ import annotations

import csv

from tests.committed import ROOT, results

FINDINGS = (ROOT / "docs" / "findings.md").read_text()


def section(title: str) -> str:
    """What stands under the heading of this title, up to the next one. IndexError without such a heading."""
    return FINDINGS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def csv_rows(name: str) -> list[dict[str, str]]:
    """The rows of a table below results/, as it is committed."""
    with (results() / name).open() as file:
        return list(csv.DictReader(file))
