"""The committed pictures' numbers, leagues and effective lengths follow from the committed records."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.pictures import DPI
from conf.lengths import rules
from eval.cells import collect
from eval.figures import gap, learning, positions
from eval.figures.positions_draw import figure
from eval.figures.style import render
from eval.league.render import markdown, tidy_csv
from eval.league.standings import build
from eval.lengths import effective as lengths
from eval.lengths import render as lengths_render
from eval.published import load_table1
from eval.records import load

ROOT = Path(__file__).parent.parent
PLACES = list(load_table1(files("conf") / "published" / "table1.csv"))


def profiles(below: str = "") -> list[Path]:
    found = (ROOT / "results").glob(f"*/{below}/records.jsonl" if below else "*/records.jsonl")
    return sorted(path.parent for path in found if "runs" not in path.parts)


@pytest.mark.parametrize("folder", profiles(), ids=lambda folder: folder.name)
def test_the_numbers_behind_the_pictures(folder: Path) -> None:
    collection = collect(load(folder / "records.jsonl"))
    for name in collection.protocols:
        texts = {
            "positions": positions.tidy_csv(positions.rows(collection, name, PLACES)),
            "curves": learning.tidy_csv(learning.rows(collection, name, PLACES)),
            "gap": gap.tidy_csv(name, gap.gaps(collection, name, PLACES)),
        }
        for kind, text in texts.items():
            assert (folder / f"{kind}-{name}.csv").read_text() == text
        for kind in (*texts, "wavelengths"):
            assert (folder / f"{kind}-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_drawn_again_is_the_committed_one() -> None:
    folder = ROOT / "results" / "quick"
    drawn = render(figure(collect(load(folder / "records.jsonl")), "paper", PLACES), "png", DPI)
    again, committed = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
        for data in (drawn, (folder / "positions-paper.png").read_bytes())
    )
    assert again.shape == committed.shape
    assert np.abs(again - committed).mean() < 0.5  # of 255: other releases of the drawing library smooth edges anew


def test_every_league_follows_from_its_records() -> None:
    for folder in profiles("league"):
        found = build(collect(load(folder / "records.jsonl")))
        assert (folder / "league.md").read_text() == markdown(found)
        assert (folder / "league.csv").read_text() == tidy_csv(found)
        for name in found.protocols:
            assert (folder / f"league-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_all_effective_lengths_follow_from_their_records() -> None:
    for folder in profiles("lengths"):
        found = lengths.build(load(folder / "records.jsonl"), rules().threshold)
        assert (folder / "lengths.md").read_text() == lengths_render.markdown(found)
        assert (folder / "lengths.csv").read_text() == lengths_render.tidy_csv(found)
        for name in found.protocols:
            assert (folder / f"lengths-{name}.png").read_bytes().startswith(b"\x89PNG")
