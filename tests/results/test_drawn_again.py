"""Every committed table and figure, drawn again from the committed records by the commands that a user would type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import run
from tests.committed import results

TABLE_1 = {
    "table1": ("--format", "markdown,csv,latex"),
    "figure3": (),
    "verdict": ("--format", "markdown,csv"),
    "positions": (),
    "curves": (),
    "gap": (),
}
# Of a profile for texts.
TEXT = {"table1": ("--format", "markdown,csv,latex"), "figure4": ()}
# Each has a folder of its own name below the profile's.
OTHERS = {
    "ledger": ("--effects", "--format", "markdown,csv,png"),
    "league": (),
    "lengths": (),
    "interventions": (),
}
JUDGED = ("--format", "all")
# Folders of language models, which no profile is of.
LANGUAGE_MODELS = {"llm": ("llm figure4", ()), "leval": ("llm table2", JUDGED), "harness": ("llm tasks", JUDGED)}
FOLDERS = sorted(path.parent for path in results().rglob("records.jsonl"))


def profile_of(folder: Path) -> str:
    """The profile below whose results a folder is."""
    return folder.relative_to(results()).parts[0]


def places() -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    """Folder, command, options. A profile's own folder has all that Table 1's records give, one further down only some
    of it, such as another depth's table, or the records alone."""
    for folder in FOLDERS:
        if profile_of(folder) == "llm":
            if folder.name in LANGUAGE_MODELS:  # the others are records to compare with
                yield folder, *LANGUAGE_MODELS[folder.name]
        elif folder.parent.name == "experiments":
            yield folder, f"experiment judge {folder.name}", ("--profile", profile_of(folder), *JUDGED)
        elif any(folder.glob("league.*")):  # a league may have another below it
            yield folder, "league", OTHERS["league"]
            if any(folder.glob("equal-id*")):
                yield folder, "league", ("--equal-id",)
        elif folder.name in OTHERS:
            yield folder, folder.name, OTHERS[folder.name]
        else:
            for command, options in (TEXT if folder.name.startswith("text") else TABLE_1).items():
                if folder.parent == results() or any(folder.glob(f"{command}[.-]*")):
                    yield folder, command, options


PICTURES = ("figure3", "positions", "curves", "gap")


def place_of(folder: Path, command: str, options: tuple[str, ...]) -> object:
    """A parameter; pictures are drawn from the same numbers as tables, and take longest, as do lengths: Figure 3 of
    quick is drawn always."""
    take_long = command == "lengths" or command in PICTURES[(1 if profile_of(folder) == "quick" else 0) :]
    marks = [pytest.mark.slow] if take_long else []
    return pytest.param(folder, command, options, id=f"{folder.relative_to(results())}-{command}", marks=marks)


PLACES = list(places())


def same(drawn: Path, committed: Path) -> bool:
    """Texts to the letter, PNGs to the pixel but for smoothing, which differs between releases of the drawing library;
    a PDF shows the same figure as the PNG beside it."""
    if drawn.suffix == ".pdf":
        return committed.read_bytes().startswith(b"%PDF")
    if drawn.suffix != ".png":
        return drawn.read_bytes() == committed.read_bytes()
    a, b = (np.asarray(Image.open(p).convert("L"), dtype=float) for p in (drawn, committed))
    return a.shape == b.shape and (np.abs(a - b) > 64).mean() < 0.001  # of 255; a line elsewhere is more than that


def stem(path: Path) -> str:
    return path.stem.split("-")[0]


@pytest.mark.parametrize(("folder", "command", "options"), [place_of(*place) for place in PLACES])
def test_what_is_committed_is_what_the_records_give(
    folder: Path, command: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    records = str(folder / "records.jsonl")
    assert run(*command.split(), "--records", records, *options, "--out", str(tmp_path)) == 0
    drawn = sorted(tmp_path.iterdir())
    stems = {stem(path) for path in drawn}
    assert stems
    # Nothing is missing, and nothing is left of protocols that the records no longer have.
    assert {path.name for path in drawn} == {path.name for path in folder.iterdir() if stem(path) in stems}
    assert [path.name for path in drawn if not same(path, folder / path.name)] == []


def test_nothing_is_committed_that_no_command_draws() -> None:
    known = {
        *TABLE_1,
        *TEXT,
        *OTHERS,
        "effects",
        "equal",
        "losses",
        "records",
        "table2",
        "tasks",
        "tuning",
        "wavelengths",
    }
    for folder in FOLDERS:
        judged = {folder.name} if folder.parent.name == "experiments" else set()
        assert {stem(path) for path in folder.iterdir() if path.is_file()} <= known | judged


def test_no_committed_picture_is_large() -> None:
    pictures = [path for path in results().rglob("*") if path.suffix in (".png", ".pdf", ".svg")]
    assert len(pictures) > 50
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []
