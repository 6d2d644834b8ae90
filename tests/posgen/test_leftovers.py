"""What a killed process left beside a file or folder goes; what a living one, or another machine, writes stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from posgen import leftovers


def test_what_dead_processes_of_thismachine_left_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path, other = tmp_path / "run.json", tmp_path / "run.json.json"
    own = leftovers.beside(path)
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    elsewhere = dead.with_name(dead.name.replace(leftovers.machine(), "0" * 8))
    of_another_file = leftovers.beside(other)
    for file in (own, dead, elsewhere, of_another_file, path):
        file.write_text("x")
    leftovers.clear(path)
    assert sorted(tmp_path.iterdir()) == sorted((own, elsewhere, of_another_file, path))


def test_folders_go_with_all_that_is_in_them(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = leftovers.beside(tmp_path / "cot-0123")
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    (dead / "inner").mkdir(parents=True)
    (dead / "inner" / "train.parquet").write_text("x")
    leftovers.clear(tmp_path / "cot-0123")
    assert list(tmp_path.iterdir()) == []
    leftovers.clear(tmp_path / "no" / "such" / "folder")
