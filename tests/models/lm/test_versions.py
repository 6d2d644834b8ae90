"""An older transformers is refused in one line, before anything of it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.lm.versions import check_transformers
from posgen.errors import MissingPackage
from tests.committed import ROOT


@pytest.mark.parametrize("there", ["4.51.3", "4.57.1"])
def test_transformers_4_is_refused(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.lm.versions.version", lambda name: there)
    with pytest.raises(MissingPackage, match=rf"transformers 5, and {there} is installed: pip install --upgrade"):
        check_transformers()


@pytest.mark.parametrize("there", ["5.0.0", "5.23.0", "5.0.0rc1"])
def test_transformers_5_is_not(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.lm.versions.version", lambda name: there)
    check_transformers()


@pytest.mark.parametrize("command", ["perplexity", "finetune", "leval"])
def test_every_command_says_so_in_one_line(command: str, tmp_path: Path) -> None:
    """A folder that says that an old release is installed, before the one that is."""
    said = tmp_path / "transformers-4.57.1.dist-info"
    said.mkdir()
    (said / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.1\n")
    needed = {"leval": ["--data", "."], "finetune": ["--texts", ".", "--out", "out"]}.get(command, ["--texts", "."])
    arguments = ["llm", command, str(tmp_path), *needed]
    told = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 2, told.stderr
    lines = told.stderr.splitlines()
    assert [line for line in lines if "transformers 5, and 4.57.1 is installed" in line] == lines[-1:]
    assert "Traceback" not in told.stderr
