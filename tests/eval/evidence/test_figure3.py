"""Figure 3: curves against hand-computed means, limits that never clip, and files that are the same when rebuilt."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from conf.published import load_figure3, load_table1
from eval.evidence.cells import collect
from eval.evidence.figures.bands import Series
from eval.evidence.figures.figure3 import caption, claims, curves, figure, numbers
from eval.evidence.figures.style import compact, render
from eval.evidence.table import csv_text
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError
from tests.committed import ROOT

FOLDER = ROOT / "conf" / "published"
AXES = load_figure3(FOLDER / "figure3.csv")
PLACES = list(load_table1(FOLDER / "table1.csv"))


def found(records: list[AccuracyRecord], protocol: str = "paper") -> list[Series]:
    return curves(collect(records), protocol, PLACES)


def curve(lines: list[Series], task: str, pe: str) -> Series:
    return next(line for line in lines if (line.task, line.pe) == (task, pe))


def texts(drawn: object) -> str:
    import matplotlib.text

    return "\n".join(text.get_text() for text in drawn.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]


def test_the_papers_axes():
    # Figure 3 of arXiv 2403.00071v2: 0-150 epochs; 0-3 for recursive and CoT, 1.5-4 for semi-recursive.
    assert {task: (a.epochs, a.loss) for task, a in AXES.items()} == {
        "recursive": ((0, 150), (0, 3)), "cot": ((0, 150), (0, 3)), "semi_recursive": ((0, 150), (1.5, 4)),
    }  # fmt: skip


def test_a_curve_is_the_mean_and_its_band_the_extremes(record):
    lines = found(
        [record(seed=1, losses=(3.0, 1.0)), record(seed=2, losses=(2.0, 2.0)), record(seed=3, losses=(4.0, 0.0))]
    )
    one = curve(lines, "cot", "rope")
    assert one.at == (2, 4)
    assert one.mean == pytest.approx((3.0, 1.0))
    assert (one.low, one.high) == ((2.0, 0.0), (4.0, 2.0))
    assert one.seeds == (1, 2, 3)


def test_only_epochs_that_all_seeds_have_are_averaged(record):
    lines = found([record(seed=1, losses=(3.0, 2.0, 1.0)), record(seed=2, losses=(1.0, None, 1.0))])
    assert curve(lines, "cot", "rope").at == (2, 6)


def test_diverged_seeds_are_left_out_and_counted(record):
    lines = found([record(seed=1, losses=(3.0, 1.0)), record(seed=2, ood=None, losses=(9.0,))])
    one = curve(lines, "cot", "rope")
    assert (one.mean, one.diverged) == ((3.0, 1.0), 1)


def test_missing_and_diverged_are_named_in_the_panel(record):
    records = [record(seed=1), record(seed=2, ood=None), record("recursive", "yarn")]
    words = texts(figure(collect(records), found(records), AXES))
    assert "RoPE: 1 of 2 diverged" in words
    flat = " ".join(words.split())
    assert "missing: Resonance RoPE, YaRN, Resonance YaRN" in flat
    assert "missing: RoPE, Resonance RoPE, Resonance YaRN" in flat
    assert "missing: RoPE, Resonance RoPE, YaRN, Resonance YaRN" in flat


def test_what_is_missing_hides_nothing_of_the_next_panel(record):
    records = [record(seed=1), record("recursive", "yarn"), record("semi_recursive", "p_rope")]
    drawn = figure(collect(records), found(records), AXES)
    drawn.draw_without_rendering()
    boxes = [panel.xaxis.label.get_window_extent() for panel in drawn.axes]
    for box, after in itertools.pairwise(boxes):
        assert box.x1 < after.x0
    assert boxes[-1].x1 <= drawn.bbox.x1


def test_the_figure_says_what_it_shows(full_sweep):
    collection = collect(full_sweep())
    lines = found(full_sweep())
    drawn = figure(collection, lines, AXES)
    words = texts(drawn)
    for expected in ("Protocol paper, mean of 3 seeds, profile quick (sizes are not the paper's)", "Semi-recursive",
                     "synthetic numbers_only", "chance: ln 7 = 1.95", "band: lowest to highest seed"):  # fmt: skip
        assert expected in words
    assert "missing" not in words
    for panel in drawn.axes:
        # The last line of a panel is chance: -ln(1/7), whatever the encodings do.
        assert np.asarray(panel.lines[-1].get_ydata(), dtype=float) == pytest.approx(math.log(7), abs=1e-12)
    assert caption(collection, lines).endswith("Profile quick (synthetic numbers_only); sizes are not the paper's.")


@pytest.mark.parametrize("losses", [(2.5, 1.7), (2.5, 0.01), (40.0, 1.0), (2.0, 2.0)])
def test_no_data_are_ever_clipped(record, losses):
    records = [record(task, losses=losses, seed=seed) for task in AXES for seed in (1, 2)]
    drawn = figure(collect(records), found(records), AXES)
    for panel in drawn.axes:
        low, high = panel.get_ylim()
        assert low <= min(*losses, math.log(7))
        assert max(*losses, math.log(7)) <= high


def test_the_papers_ranges_are_kept_where_the_data_fit(record):
    records = [record(task, losses=(2.5, 1.7)) for task in AXES]
    drawn = figure(collect(records), found(records), AXES)
    assert [panel.get_ylim() for panel in drawn.axes] == [(0, 3), (0, 3), (1.5, 4)]


def test_the_four_encodings_differ_in_colour_and_in_dashes(full_sweep):
    panel = figure(collect(full_sweep()), found(full_sweep()), AXES).axes[0]
    lines = panel.lines[:4]
    assert len({line.get_color() for line in lines}) == 4
    assert len({str(line._dash_pattern) for line in lines}) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_rebuilt_file_is_identical(full_sweep, suffix):
    made = [render(figure(collect(full_sweep()), found(full_sweep()), AXES), suffix) for _ in range(2)]
    assert hashlib.sha256(made[0]).hexdigest() == hashlib.sha256(made[1]).hexdigest()
    assert made[0].startswith(b"\x89PNG" if suffix == "png" else b"%PDF")
    assert b"CreationDate" not in made[0]


def test_the_png_has_at_least_200_dots_an_inch(full_sweep):
    image = render(figure(collect(full_sweep()), found(full_sweep()), AXES), "png")
    at = image.index(b"pHYs") + 4
    dots_a_metre = int.from_bytes(image[at : at + 4], "big")
    assert dots_a_metre * 0.0254 >= 200


def test_no_curve_at_all_is_a_clear_error(record):
    records = [record(losses=())]
    with pytest.raises(UserError, match="protocol=paper: no record has a validation curve"):
        figure(collect(records), found(records), AXES)


def test_the_numbers_behind_the_figure(record):
    lines = found([record(seed=1, losses=(3.0, 1.0)), record(seed=2, losses=(2.0, 2.0))])
    rows = list(csv.DictReader(io.StringIO(csv_text(numbers(lines)))))
    assert [(r["epoch"], r["loss_mean"], r["loss_lowest"], r["loss_highest"], r["n"]) for r in rows] == [
        ("2", "2.5", "2.0", "3.0", "2"), ("4", "1.5", "1.0", "2.0", "2"),
    ]  # fmt: skip


def test_the_papers_claims_are_told_as_they_came_out(record):
    lines = found([
        record("semi_recursive", "rope", losses=(3.0, 2.0)),
        record("semi_recursive", "resonance_rope", losses=(3.5, 1.5)),
        record("semi_recursive", "yarn", losses=(3.0, 1.0)),
        record("semi_recursive", "resonance_yarn", losses=(2.0, 0.5)),
    ])  # fmt: skip
    first, second, third = claims(lines)
    assert first.endswith(": 2 of 2")
    assert second.endswith("0 of 1; not for Semi-recursive Resonance RoPE 1.500 vs YaRN 1.000")
    assert third.endswith("1 of 2; not for Semi-recursive Resonance RoPE at 1 of 2 epochs")


def test_claims_without_curves_are_not_made(record):
    assert all(line.endswith("cannot be said, curves are missing") for line in claims(found([record()])))


def test_a_compact_png_keeps_its_colours():
    rows = np.zeros((200, 300, 3), dtype=np.uint8)
    rows[...] = np.random.default_rng(0).integers(0, 256, (200, 300, 1))  # more greys than places, and two rare colours
    rows[..., 0] += np.arange(300, dtype=np.uint8) % 3
    rows[3, 4:8] = (0xE6, 0x9F, 0x00)
    rows[7, 4:8] = (0xD5, 0x5E, 0x00)
    out = io.BytesIO()
    Image.fromarray(rows).save(out, "PNG", dpi=(300, 300))
    again = Image.open(io.BytesIO(compact(out.getvalue())))
    assert again.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    pixels = np.asarray(again.convert("RGB"))
    assert (pixels[3, 4:8] == rows[3, 4:8]).all()
    assert (pixels[7, 4:8] == rows[7, 4:8]).all()
    assert np.abs(pixels.astype(int) - rows.astype(int)).max() < 16
