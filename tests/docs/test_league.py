"""docs/league.md says what conf/league.yaml declares and what the ceilings are."""

from __future__ import annotations

import re

from conf.league import league_rules
from eval.evidence.league.ceilings import ceiling
from posgen.spec import DataSpec, Task
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "league.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_the_rules_are_those_declared() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| (generalises|fails) \|", PAGE, flags=re.MULTILINE)
    assert rows == [(rule.name.replace("_", " "), rule.predicts) for rule in league_rules().rules]


def test_the_numbers_are_those_declared() -> None:
    rules = league_rules()
    assert f"is at least {100 * rules.share:g} % of the ceiling." in WORDS
    assert f"OOD accuracy is at least {100 * rules.holds:g} % of the ceiling beyond L" in WORDS
    assert f"the {100 * rules.confidence:g} % interval over seeds" in WORDS
    assert rules.doublings == 4
    assert "at most four doublings" in WORDS


def test_the_ceilings_are_those_computed() -> None:
    tasks = [Task(rule=rule) for rule in ("recursive", "cot", "semi_recursive")]
    recursive, cot, semi = (ceiling(task, DataSpec(), league_rules()).id for task in tasks)
    assert recursive == cot
    assert f"within L {recursive:.2f} % on the recursive task and the chain of thought" in WORDS
    assert f"and {semi:.2f} % on the semi-recursive one" in WORDS
