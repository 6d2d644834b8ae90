"""The results that tests read: those that are committed, whatever a run has written into results/ since."""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def results() -> Path:
    """A copy of results/ as it is committed, which lasts as long as this process. Made in a fifth of a second, so each
    process of a test run has its own."""
    into = Path(tempfile.mkdtemp(prefix="posgen-committed-"))
    atexit.register(shutil.rmtree, into, ignore_errors=True)
    return copied(ROOT, into)


def copied(project: Path, into: Path) -> Path:
    """Copy the project's results/ below a folder, as git's HEAD has it. Where git knows nothing of the project, such as
    in an unpacked archive of the source, that is what lies there, but for what git would ignore."""
    archive = ["git", "-C", str(project), "archive", "--format=zip", "-0", "HEAD", "results"]
    try:
        packed = subprocess.run(archive, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        lines = (project / ".gitignore").read_text(encoding="utf-8").splitlines()
        ignored = [Path(line).name for line in lines if line.startswith("results/")]
        shutil.copytree(project / "results", into / "results", ignore=shutil.ignore_patterns(*ignored))
    else:
        zipfile.ZipFile(io.BytesIO(packed)).extractall(into)
    return into / "results"
