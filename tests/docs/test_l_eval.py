"""docs/l-eval.md runs as it stands, block by block, in a folder of its own, and names every switch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from eval.measuring.llm.leval.scoring import Scoring
from tests.command import run
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "l-eval.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, text in BLOCK.findall(PAGE):
        if language == "python":
            exec(text, names)
            continue
        for line in text.splitlines():
            assert run(*shlex.split(line)[1:]) == 0, line
    shown = capsys.readouterr().out
    assert "Resonance YaRN − YaRN" in shown
    assert "read A, gold B, score 0" in shown


def test_every_switch_has_a_row() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"\w+", row)] == list(Scoring().switches)
