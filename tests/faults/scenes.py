"""What the faults are inflicted on: a sweep of two populations, in each of which one member diverges, two runs that
share a training, and the commands that read what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SWEEP = (
    "sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope,broken.py:Broken",
    "--protocol", "paper,paper+selection=last,paper+layers=1", "--threads", "1", "optim.batch_size=16",
)  # fmt: skip
"""Eight steps in two epochs; `Broken` diverges after four."""
HOW: dict[str, Any] = {"save_every": 3}
"""Saved after the steps 3 and 6, so before the divergence and after it."""
PROFILE = "smoke+optim.batch_size=16"
TRAIN = ("train", "--profile", "smoke", "--task", "cot", "--pe", "rope", "--threads", "1")
GENERATE = ("generate", "--profile", "smoke", "--task", "cot")
RECORDS = f"results/{PROFILE}/records.jsonl"
TABLE1 = ("table1", "--records", RECORDS, "--out", "results/drawn", "--format", "all")
REPORT = ("report", "--profile", PROFILE, "--out", "results/drawn/report.html")

_BROKEN = '''
from dataclasses import dataclass

from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq


@dataclass(frozen=True)
class Broken(Scaling):
    """Its angles are not finite, and so no loss is."""

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        return rope_inv_freq(head_dim, base) * 3e38
'''


def workplace(folder: Path) -> Path:
    """A new folder to run the commands in."""
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text(_BROKEN)
    return folder


def finished_run(folder: Path) -> str:
    """The id of a run in it that is finished and has weights."""
    return sorted(file.parent.name for file in (folder / "results" / "runs").glob("*/weights-rope.safetensors"))[0]


def evaluate(folder: Path) -> tuple[str, ...]:
    """The command that measures it again, at two lengths."""
    return ("evaluate", finished_run(folder), "--length", "24,48", "--threads", "1")
