"""docs/adding-an-encoding.md runs as it stands, in a copy of the project."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.committed import ROOT

PAGE = (ROOT / "docs" / "adding-an-encoding.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    return [(language, name or "", text) for language, name, text in BLOCK.findall(PAGE)]


END = "-- end of the output --"
# Each command in a fork of one process that has imported what is slow to import.
FORKS = f"""
import os, sys, json
from cli.main import main
import eval.running.sweep, eval.running.request, eval.running.wandb_tracker
for words in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        main(words)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print({END!r}, flush=True)
    if status:
        sys.exit(f"{{' '.join(words)}}: status {{status}}")
"""


def posgen(text: str, where: Path) -> dict[str, str]:
    """Run the lines of a block with the packages of the folder that they are typed in: what each printed."""
    lines = text.splitlines()
    commands = [shlex.split(line) for line in lines]
    assert all(words[0] == "posgen" for words in commands)
    commands = [words[1:] + ["--threads", "1"] * (words[1] in ("train", "sweep")) for words in commands]
    run = [sys.executable, "-c", FORKS, json.dumps(commands)]
    done = subprocess.run(run, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, done.stdout.split(f"{END}\n"), strict=False))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for room in ("cli", "conf", "eval", "models", "posgen"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.slow
def test_the_page_runs_as_it_stands(copy: Path) -> None:
    own = next(text for _, name, text in blocks() if name == "steps.py")
    (copy / "steps.py").write_text(own)
    (first,) = [text for language, name, text in blocks() if (language, name) == ("sh", "")]
    outputs = posgen(first, copy)
    assert len(outputs) == len(first.splitlines())
    assert all("1 trained and measured" in out for out in outputs.values())

    for _, name, text in blocks():
        if name.startswith(("models/", "conf/", "tests/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(own + "\n\n" + text if name.startswith("models/") else text)
    (copy / "steps.py").unlink()
    (suite,) = [text for _, name, text in blocks() if name == "suite"]
    said = posgen(suite, copy)
    assert re.search(r"^ *steps\b", said["posgen encodings"], re.MULTILINE)
    shown = json.loads(said["posgen encodings show steps --json"])
    assert shown["inv_freq"][:5] == [1.0, 0.5, 0.5, 0.25, 0.25]
    assert "2 trained and measured" in said["posgen sweep --profile smoke --task cot --pe rope,steps"]
    assert "Stepwise RoPE" in said["posgen table1 --profile smoke"]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_steps.py"]
    done = subprocess.run(tests, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
