"""What docs/standard-tasks.md says of a small model, against the committed records."""

from __future__ import annotations

from tests.committed import ROOT
from tests.docs.findings import csv_rows


def test_the_table_of_a_small_model() -> None:
    page = (ROOT / "docs" / "standard-tasks.md").read_text(encoding="utf-8")
    rows = {(r["task"], r["length"]): r for r in csv_rows("llm/harness/tasks.csv")}
    lines = [line for line in page.splitlines() if line.startswith(("| niah", "| ruler"))]
    assert len(lines) == len(rows) == 8
    for line in lines:
        task, length, samples, contained = (cell.strip() for cell in line.strip("|").split("|"))
        row = rows[task, length.replace(",", "")]
        assert (row["encoding"], row["metric"], row["samples"]) == ("none", "contained", samples)
        assert contained == f"{float(row['value']):.2f}"
