"""docs/interventions.md and its sentence in docs/findings.md, recomputed from the committed records."""

from __future__ import annotations

import re

from conf import names
from eval.evidence.interventions.shares import Measured, Shares, build
from eval.store.probes import InterventionsRecord
from eval.store.records import load
from tests.committed import ROOT, results

PAGE = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
FINDINGS = " ".join((ROOT / "docs" / "findings.md").read_text(encoding="utf-8").split())


def measured(exchange: str) -> Measured:
    return build(load(results() / "quick" / "interventions" / "records.jsonl", kind=InterventionsRecord), exchange)


def right(exchange: str) -> list[Shares]:
    return [shares for row in measured(exchange).rows for (_, among), shares in row.shares.items() if among == "right"]


def percents(exchange: str, part: str) -> list[float]:
    return [round(100 * getattr(shares, part), 1) for shares in right(exchange)]


def test_the_table_is_that_of_the_records() -> None:
    lines = re.findall(r"^\| (Recursive|CoT|Semi-recursive) \| (\w+) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    rows = {(names.task(row.task), names.encoding(row.pe)): row for row in measured("far").rows}
    assert {(task, pe) for task, pe, _ in lines} == rows.keys()
    for task, pe, numbers in lines:
        row = rows[task, pe]
        assert (row.protocol, len(row.seeds)) == ("zero_shot", 3)
        expected = [
            f"{100 * getattr(row.shares[side, 'right'], part):.1f}"
            for side in ("id", "ood")
            for part in ("moved", "stayed", "other")
        ]
        assert numbers.split(" | ") == expected


def test_what_the_pages_say_of_either_exchange() -> None:
    moved, stayed = max(percents("far", "moved")), min(percents("far", "stayed"))
    near_stayed, near_other = max(percents("near", "stayed")), min(percents("near", "other"))
    assert f"at most {moved} % move to what the rule gives" in FINDINGS
    assert f"at least {stayed} % stay as they are" in FINDINGS
    assert f"at most {near_stayed} % stay and at least {near_other} % become another wrong answer" in FINDINGS
    page = " ".join(PAGE.split())
    assert (
        f"at least {near_other} % become another wrong answer, and at most {max(percents('near', 'moved'))} % move"
        in page
    )


def test_they_were_read_as_declared() -> None:
    for exchange in ("far", "near"):
        assert {shares.seeds for shares in right(exchange)} == {3}
        assert measured(exchange).sequences == 100
        for row in measured(exchange).rows:
            assert {4, 63, 64, 255} <= row.distances.keys()
            assert len(row.distances) == (46 if row.task == "semi_recursive" else 24)
