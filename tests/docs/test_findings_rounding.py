"""The section on rounding of docs/findings.md, against the judged experiment and its records."""

from __future__ import annotations

from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, quoted, section

SECTION = section("Which wavelengths does rounding help or hurt?")
WORDS = " ".join(SECTION.split())
ROWS = csv_rows("quick/experiments/rounding/rounding.csv")


def effect(contrast: str, task: str) -> float:
    (row,) = [r for r in ROWS if (r["kind"], r["contrast"], r["task"]) == ("effect", contrast, task)]
    return float(row["mean"])


def test_what_was_judged_is_quoted() -> None:
    assert len(quoted(SECTION, "quick", "rounding")) == 4 + 1 + 2 + 4  # hypotheses, a blank line, a table
    outcomes = {r["hypothesis"]: r for r in ROWS if r["kind"] == "comparison"}
    assert {name: r["outcome"] for name, r in outcomes.items()} == {
        "H1": "refuted", "H2": "held", "H3": "undecided", "H4": "held",
    }  # fmt: skip
    assert f"below L costs {-float(outcomes['H1']['mean']):.1f} points of OOD accuracy" in WORDS
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"costs {-float(outcomes['H1']['mean']):.1f} points at `quick`" in readme


def test_its_sentences() -> None:
    assert f"Rounding all wavelengths costs {-effect('All', 'all'):.1f} points" in WORDS
    lost = f"({effect('All', 'recursive'):.1f}) and its hidden form ({effect('All', 'recursive_hidden'):.1f})"
    chain = f"it is {effect('All', 'cot'):+.1f} and {effect('All', 'cot_hidden'):+.1f}"
    assert f"lost on the recursive task {lost}; on the chain of thought {chain}" in WORDS
    records = load(results() / "quick/experiments/rounding/records.jsonl")
    assert (len({r.run_id for r in records}), len(records)) == (288, 288)
    assert "`: 288 trainings." in WORDS
    assert len({r.seed for r in records}) == 12
    assert "twelve seeds" in WORDS
