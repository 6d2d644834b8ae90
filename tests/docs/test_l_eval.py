"""docs/l-eval.md runs as it stands, block by block, in a folder of its own, and names every switch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eval.measuring.llm.leval.scoring import Scoring
from tests.committed import ROOT
from tests.docs.pages import run_page

PAGE = (ROOT / "docs" / "l-eval.md").read_text()


def test_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE)
    shown = capsys.readouterr().out
    assert "Resonance YaRN − YaRN" in shown
    assert "read A, gold B, score 0" in shown


def test_every_switch_has_a_row() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"\w+", row)] == list(Scoring().switches)
