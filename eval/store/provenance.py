"""Where a number comes from: git commit, versions and device, written beside every result."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy
import torch

from eval.store.kinds import Maker
from posgen import __file__ as source
from posgen import __version__


def maker(device: str) -> Maker:
    """This process, as a record names it."""
    commit, dirty = git_state()
    return Maker(commit, dirty, versions(), device_name(device))


def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether the packages differ from it, new files included); (None, None) outside a git work tree."""
    root = Path(source).resolve().parent.parent

    def git(*words: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30)
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None, None  # installed inside another repository
        changed = git("status", "--porcelain", "--", "cli", "conf", "eval", "models", "posgen", "pyproject.toml")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None, None


def versions() -> dict[str, str]:
    """Versions of what takes part in a number."""
    return {
        "posgen": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "hydra-core": version("hydra-core"),
    }


def device_name(device: str) -> str:
    """`cpu: <model>, 2 threads` or `cuda: <model>`."""
    if torch.device(device).type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device}: {_cpu_model()}, {torch.get_num_threads()} threads"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def source_digest() -> str:
    """12 hex digits of the packages' contents that take part in a number: equal digests are equal code."""
    root = Path(source).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("conf", "eval", "models", "posgen"):
        for file in sorted((root / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
