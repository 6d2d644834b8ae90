"""The gap by position against the decoder's own tables, and Theorem 1 at every single position."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from msgspec import structs

from eval.evidence.cells import Collection, collect
from eval.evidence.figures import feature_gap
from eval.evidence.figures.feature_gap import feature_gaps, gaps_by_position
from eval.evidence.figures.gap import caption, figure, gaps, notes, numbers, wavelengths_by_encoding
from eval.evidence.figures.positions import rows
from eval.evidence.table import csv_text
from eval.store.records import load
from models.encodings import build, build_rotary
from models.positions import measured_positions
from models.spec import EncodingSpec, ModelSpec
from posgen.errors import UserError
from posgen.plain import restore
from tests.committed import results
from tests.eval.made import with_config

PLACES = [("cot", pe) for pe in ("rope", "resonance_rope", "yarn", "resonance_yarn")]


@pytest.fixture(scope="module")
def quick() -> Collection:
    return collect(load(results() / "quick" / "records.jsonl"))


@pytest.mark.parametrize("scaling", ["none", "yarn", "ntk", "pi"])
@pytest.mark.parametrize("resonance", [False, True])
def test_every_position_by_comparing_it_with_every_trained_one(scaling: str, resonance: bool) -> None:
    one = build_rotary(EncodingSpec("any", scaling, resonance), 64)
    found = gaps_by_position(one, 64, 256)
    if resonance:
        whole = feature_gap.wavelengths(one, 256)
        angles = np.mod(np.arange(256)[:, None], whole) * (2 * np.pi / whole)
    else:
        angles = np.arange(256)[:, None] * one.frequencies(256)[0].double().numpy()
    points = np.exp(1j * angles)
    expected = [np.abs(points[:64] - new).min(axis=0) for new in points[64:]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(found.max(axis=0), feature_gaps(one, 64, 256))


def test_no_new_position_has_no_rows() -> None:
    assert gaps_by_position(build_rotary(EncodingSpec(), 64), 64, 64).shape == (0, 32)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("pe", ["rope", "resonance_rope", "yarn", "resonance_yarn"])
def test_a_gap_is_that_of_the_rows_that_the_decoder_reads(quick: Collection, pe: str, bos: bool) -> None:
    """Token n is predicted from row n with a BOS token in front, else from row n - 1; training shows the first rows."""
    (record, *_) = quick.cell("paper", "cot", pe).finished
    record = with_config(record, model={**record.training.config["model"], "bos": bos})
    (found,) = gaps(collect([record]), "paper")
    shift = int(bos)
    model = restore(ModelSpec, record.config["model"])
    encoding = build(restore(EncodingSpec, record.config["pe"]), 64)
    inputs = measured_positions([encoding], {}, model, 256 + shift, 255 + shift, torch.device("cpu"))
    assert inputs.rotation is not None
    cos, sin = (table[0].double().numpy() for table in inputs.rotation)
    points = (cos + 1j * sin) / np.abs(cos[0] + 1j * sin[0])
    trained = points[: 63 + shift]
    rows = points[63 + shift :]
    distance = np.array([np.abs(trained - new).min(axis=0) for new in rows])
    assert found.tokens == tuple(range(64, 256))
    assert found.critical == {"rope": 9, "resonance_rope": 9, "yarn": 7, "resonance_yarn": 7}[pe] - (
        pe == "resonance_rope" and not bos
    )  # its wavelength of 63 is not below 63 trained positions
    assert found.before is not None
    assert found.after is not None
    np.testing.assert_allclose(found.before, distance[:, : found.critical].max(axis=1), atol=2e-5)  # float32 tables
    np.testing.assert_allclose(found.after, distance[:, found.critical :].max(axis=1), atol=2e-5)


@pytest.mark.parametrize("protocol", ["paper", "zero_shot"])
def test_theorem_1_holds_at_every_position(quick: Collection, protocol: str) -> None:
    found = {one.pe: one for one in gaps(quick, protocol, PLACES)}
    assert list(found) == [pe for _, pe in PLACES]
    for pe, one in found.items():
        assert one.before is not None
        assert one.after is not None
        assert (max(one.before) <= 5e-14) == pe.startswith("resonance_")
        assert min(one.after) > 0.0
        assert max(one.after) > 1.5
        if not pe.startswith("resonance_"):
            assert max(one.before) == pytest.approx(0.1276, abs=1e-4)  # feature 3, as feature_gaps


@pytest.mark.parametrize("encodings", [1, 2, 3, 4])
def test_the_legend_fits_into_the_picture(quick: Collection, encodings: int) -> None:
    records = [r for _, pe in PLACES[:encodings] for r in quick.cell("paper", "cot", pe).finished]
    records += [r for task in ("recursive", "semi_recursive") for r in quick.cell("paper", task, "rope").finished]
    chosen = collect(records)
    drawn = figure(chosen, gaps(chosen, "paper"), rows(chosen, "paper", PLACES))
    (box,) = [legend.get_window_extent() for legend in drawn.legends]
    assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1


def test_the_picture_shows_these_numbers(quick: Collection) -> None:
    found = gaps(quick, "paper", PLACES)
    drawn = figure(quick, found, rows(quick, "paper", PLACES))
    above, below = drawn.axes[:4], drawn.axes[4:]
    for panel, one in zip(above, found, strict=True):
        curves = [np.asarray(line.get_ydata()) for line in panel.lines if len(np.asarray(line.get_xdata())) > 2]
        np.testing.assert_array_equal(curves[0], one.after)
        np.testing.assert_array_equal(curves[1], one.before)
    for panel, one in zip(below, found, strict=True):
        line = next(line for line in panel.lines if len(np.asarray(line.get_xdata())) == 252)
        records = quick.cell("paper", "cot", one.pe).finished
        expected = 100 * np.array([record.accuracy_by_position for record in records], dtype=float)[:, 4:].mean(axis=0)
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected)
    words = "\n".join(text.get_text() for text in drawn.findobj(Text))
    for expected_words in ("Resonance YaRN", "L=64", "quick profile, much smaller than the paper's", "accuracy, CoT"):
        assert expected_words in words


def test_numbers_and_caption(quick: Collection) -> None:
    found = gaps(quick, "zero_shot", PLACES)
    table = list(csv.DictReader(io.StringIO(csv_text(numbers("zero_shot", found)))))
    assert len(table) == 4 * 192
    assert [row["gap_pre_critical"] for row in table if row["pe"] == "resonance_rope"] == ["0.0"] * 192
    changed = "Trained with other angles than tested with, a change that no gap counts: YaRN, Resonance YaRN."
    assert changed in notes(quick, "zero_shot", found)
    assert "other angles" not in " ".join(notes(quick, "paper", gaps(quick, "paper", PLACES)))
    assert "mean of 3 seeds" in caption(quick, rows(quick, "zero_shot", PLACES))


def test_wavelengths_come_from_the_records(quick: Collection) -> None:
    found = wavelengths_by_encoding(quick, "paper", PLACES)
    assert found["resonance_rope"].wavelengths[:9].tolist() == [6, 8, 11, 15, 20, 26, 35, 47, 63]
    assert {pe: one.critical for pe, one in found.items()} == {
        "rope": 9, "resonance_rope": 9, "yarn": 7, "resonance_yarn": 7,
    }  # fmt: skip


def test_encodings_that_do_not_rotate_have_no_gap(quick: Collection) -> None:
    (record, *_) = quick.cell("paper", "cot", "rope").finished
    alibi = {"name": "alibi", "scaling": "none", "resonance": False, "base": 1e4, "params": {}, "kind": "alibi"}
    record = structs.replace(record, pe="alibi", encoding=alibi)
    with pytest.raises(UserError, match="protocol=paper: no rotary encoding"):
        gaps(collect([record]), "paper")
