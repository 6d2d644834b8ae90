"""Every committed table and figure, drawn again from the committed records by the commands that a user would type."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import run

ROOT = Path(__file__).parent.parent
ALL = ("--format", "markdown,csv")
# Command, folder of its records below the profile's, options.
COMMANDS = (
    ("table1", "", ("--format", "markdown,csv,latex")),
    ("figure3", "", ()),
    ("verdict", "", ALL),
    ("positions", "", ()),
    ("curves", "", ()),
    ("gap", "", ()),
    ("ledger", "ledger", ("--effects", "--format", "markdown,csv,png")),
    ("league", "league", ()),
    ("lengths", "lengths", ()),
)
PROFILES = sorted(path.parent.name for path in ROOT.glob("results/*/records.jsonl") if path.parent.name != "runs")
PLACES = [
    (profile, below, command, options)
    for profile in PROFILES
    for command, below, options in COMMANDS
    if (ROOT / "results" / profile / below / "records.jsonl").exists()
]


def same(drawn: Path, committed: Path) -> bool:
    """Texts to the letter, PNGs to the pixel but for smoothing, which differs between releases of the drawing library;
    a PDF shows the same figure as the PNG beside it."""
    if drawn.suffix == ".pdf":
        return committed.read_bytes().startswith(b"%PDF")
    if drawn.suffix != ".png":
        return drawn.read_bytes() == committed.read_bytes()
    a, b = (np.asarray(Image.open(io.BytesIO(p.read_bytes())).convert("L"), dtype=float) for p in (drawn, committed))
    return a.shape == b.shape and (np.abs(a - b) > 64).mean() < 0.001  # of 255; a line elsewhere is more than that


def stem(path: Path) -> str:
    return path.stem.split("-")[0]


@pytest.mark.parametrize(
    ("profile", "below", "command", "options"), PLACES, ids=[f"{place[0]}-{place[2]}" for place in PLACES]
)
def test_what_is_committed_is_what_the_records_give(
    profile: str, below: str, command: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert run(command, "--profile", profile, *options, "--out", str(tmp_path)) == 0
    drawn, committed = sorted(tmp_path.iterdir()), ROOT / "results" / profile / below
    stems = {stem(path) for path in drawn}
    assert stems
    # Nothing is missing, and nothing is left of protocols that the records no longer have.
    assert {path.name for path in drawn} == {path.name for path in committed.iterdir() if stem(path) in stems}
    assert [path.name for path in drawn if not same(path, committed / path.name)] == []


def test_nothing_is_committed_that_no_command_draws() -> None:
    known = {command for command, _, _ in COMMANDS} | {"effects", "records", "wavelengths"}
    files = [path for profile in PROFILES for path in (ROOT / "results" / profile).rglob("*") if path.is_file()]
    assert {stem(path) for path in files if path.name != "report.html"} <= known
