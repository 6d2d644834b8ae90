"""README.md's own encoding runs as it stands, and CONTRIBUTING.md's walk names what is there."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.command import run
from tests.committed import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
WALK = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_readmes_own_encoding_trains_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its lines, at the profile that takes seconds."""
    (tmp_path / "slower.py").write_text(block("python slower.py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for line in block("sh own").splitlines():
        words = shlex.split(line.replace("--profile quick", "--profile smoke"), comments=True)[1:]
        capsys.readouterr()
        sized = ["--profile", "smoke", "--threads", "1"] if words[0] == "train" else []
        assert run(*words, *sized) == 0, line
        if words[0] == "encodings":
            assert run(*words, "--json") == 0
            shown = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert shown["inv_freq"][0] == pytest.approx(1 / 8)  # RoPE's first frequency is 1
        elif words[0] == "table1":
            assert "Slower" in capsys.readouterr().out
        else:
            assert "trained and measured" in capsys.readouterr().out


def test_the_readme_opens_with_what_a_reader_looks_for() -> None:
    """What it is, two commands, one figure, the table, what was found in five lines, then use."""
    places = [
        README.index(text)
        for text in ("arxiv.org/abs", "make reproduce-table1", "![", "<!-- table1", "What was found", "## Use it")
    ]
    assert places == sorted(places)
    found = README[places[4] : places[5]]
    assert len(re.findall(r"^- ", found, flags=re.MULTILINE)) == 5


def test_the_walk_from_a_setting_to_the_optimiser_names_what_is_there() -> None:
    stops = re.findall(r"^\d+\. `([^`]+)`(?:, `(\w+)`)?", WALK, flags=re.MULTILINE)
    assert 5 <= len(stops) < 12
    for path, name in stops:
        assert (ROOT / path).is_file(), path
        if path.endswith(".py"):
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if hasattr(node, "name")}, (path, name)
    assert re.search(r"^lr:", (ROOT / stops[0][0]).read_text(encoding="utf-8"), flags=re.MULTILINE)
