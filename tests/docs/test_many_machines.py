"""docs/many-machines.md: its commands run where they can, and name only what is there where they cannot."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from conf.compose import Choice, compose
from conf.overrides import read
from eval.store import leases
from tests.command import run
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", [pytest.param("sh local", marks=pytest.mark.slow), "sh post"])
def test_its_commands_run_as_they_stand(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the profile that takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (text,) = blocks(kind)
    for line in text.splitlines():
        words = shlex.split(line.replace("--profile quick", "--profile smoke --task cot --pe rope"), comments=True)[1:]
        assert run(*words, *([] if "backend=post" in words else ["--threads", "1"])) == 0, line
    out = capsys.readouterr().out
    assert "1 trained and measured" in out
    if kind == "sh post":
        assert "nothing is posted in results/queue" in out  # the third line finds everything done


def test_its_settings_are_there() -> None:
    lines = [shlex.split(line, comments=True) for text in blocks("sh") for line in text.splitlines()]
    settings = [[word for word in words if word.startswith("backend")] for words in lines if words[:1] == ["posgen"]]
    assert sum("backend=slurm" in words for words in settings) == 3
    for words in settings:
        compose(Choice(), read(words).overrides)
    for key in re.findall(r"`backend\.(\w+)", PAGE):
        assert hasattr(compose(Choice()).backend, key)


def test_its_scripts_can_be_read() -> None:
    (script,) = blocks("sh sbatch")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (text,) = blocks("yaml")
    task = yaml.safe_load(text)
    assert set(task) <= {"name", "workdir", "resources", "envs", "setup", "run"}
    subprocess.run(["bash", "-n"], input=task["run"] + task["setup"], text=True, check=True)
    assert "posgen work" in task["run"]


def test_its_numbers_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"touches the file every {leases.BEAT:.0f} seconds" in text
    assert f"watched the file for {leases.LIMIT:.0f} seconds without a change" in text
