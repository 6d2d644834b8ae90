"""Where a number comes from: code, git commit, versions and device, written beside every result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy
import torch

from eval.store.kinds import Maker
from posgen import __file__ as benchmark
from posgen import __version__

ROOT = Path(benchmark).resolve().parent.parent
"""The folder that holds the packages."""
PARTS = ("posgen", "models", "conf", "eval/store", "eval/measuring", "eval/running", "eval/evidence/lengths")
"""What can change a number: all that takes part from a request to its record. cli and the rest of eval/evidence, which
draw from records, are not among it."""


def source_hash(root: Path = ROOT) -> str:
    """12 hex digits of the names and contents of all .py and .yaml files of `PARTS`: equal hashes are the same code.

    Code of the user's own is not in it: an encoding and a task have a hash of theirs, `code`.
    """
    files = [path for part in PARTS for suffix in ("py", "yaml") for path in (root / part).rglob(f"*.{suffix}")]
    # A name that begins with a dot is an editor's, and may be a link to nothing.
    named = sorted((path.relative_to(root).as_posix(), path) for path in files if not path.name.startswith("."))
    digest = hashlib.sha256()
    for name, path in named:
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


SOURCE = source_hash()
"""Of this process: taken when it starts, for what is edited later is not what it runs."""


def maker(device: str, *further: str) -> Maker:
    """This process, as a record names it. `further`: packages that take part beside those of every number."""
    commit, dirty = git_state()
    return Maker(commit, dirty, versions(*further), device_name(device), SOURCE)


def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether the packages differ from it, new files included); (None, None) outside a git work tree."""

    def git(*words: str) -> str:
        run = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=30)
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None, None  # installed inside another repository
        changed = git("status", "--porcelain", "--", "cli", "conf", "eval", "models", "posgen", "pyproject.toml")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None, None


def versions(*further: str) -> dict[str, str]:
    """Versions of what takes part in a number, and of `further` packages."""
    return {
        "posgen": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        **{name: version(name) for name in ("hydra-core", *further)},
    }


def device_name(device: str) -> str:
    """`cpu: <model> (AVX2), 2 threads` or `cuda: <model>`.

    A model's name may not tell two processors apart (virtual machines say `AMD EPYC` of all), and kernels of other
    vector instructions round otherwise, which a whole training makes much of: they are named.
    """
    if torch.device(device).type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{device}: {_cpu_model()} ({vectors}), {torch.get_num_threads()} threads"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
