"""Accuracy by position and learning curves: what is drawn is what the records hold, and what they lack is told."""

from __future__ import annotations

import csv
import hashlib
import io
import math

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from eval.evidence.cells import collect
from eval.evidence.figures import learning, positions
from eval.evidence.figures.style import FORMATS, render
from eval.evidence.table import csv_text
from eval.store.kinds import Validation
from posgen.errors import UserError

PLACES = [("cot", "rope"), ("cot", "resonance_rope"), ("semi_recursive", "rope")]


def by_position(seed: int, length: int = 256) -> tuple[float | None, ...]:
    """Four given tokens, then an accuracy that falls and is different at even and odd positions."""
    values = np.linspace(0.95, 0.2, length) * np.where(np.arange(length) % 2, 1.0, 0.3 + 0.1 * seed)
    return (*[None] * 4, *(round(float(value), 6) for value in values[4:]))


@pytest.fixture
def measured(record):
    """Three seeds of two cells, one of which lost a seed; the third published cell is missing."""
    made = [
        record(task, "rope", seed, accuracy_by_position=by_position(seed))
        for task in ("cot", "semi_recursive")
        for seed in (1, 2, 3)
    ]
    return [*made, record("semi_recursive", "rope", 4, ood=None)]


def by_position_drawn(records, places=PLACES):
    collection = collect(records)
    return positions.figure(collection, positions.rows(collection, "paper", places))


def learning_drawn(records, places=PLACES):
    collection = collect(records)
    return learning.figure(collection, learning.rows(collection, "paper", places))


def words(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def lines(panel) -> list[tuple[list[float], list[float]]]:
    """(x, y) of a panel's curves: what has more than the two points of a guide."""
    found = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in panel.lines]
    return [(x.tolist(), y.tolist()) for x, y in found if len(x) > 2]


def test_a_line_is_the_mean_over_seeds_and_its_band_their_extremes(measured):
    figure = by_position_drawn(measured)
    whole = 100 * np.array([by_position(seed)[4:] for seed in (1, 2, 3)], dtype=float)
    ((x, y),) = lines(figure.axes[0])
    assert x == list(range(4, 256))  # the four tokens of the seed are given, not predicted
    np.testing.assert_allclose(y, whole.mean(axis=0))
    (band,) = [one for one in figure.axes[0].collections if isinstance(one, PolyCollection)]
    corners = np.asarray(band.get_paths()[0].vertices)
    for position in (4, 63, 64, 255):
        own = corners[corners[:, 0] == position][:, 1]
        column = whole[:, position - 4]
        assert (own.min(), own.max()) == pytest.approx((column.min(), column.max()))


def test_even_and_odd_positions_of_the_semi_recursive_task_are_joined_apart(measured):
    figure = by_position_drawn(measured)
    even, odd = lines(figure.axes[1])
    assert (even[0], odd[0]) == (list(range(4, 256, 2)), list(range(5, 256, 2)))
    assert odd[1] == pytest.approx([100 * float(by_position(1)[int(at)] or 0) for at in odd[0]])


def errors_drawn(records):
    collection = collect(records)
    accuracies = positions.rows(collection, "paper", PLACES)
    rates, resolution = positions.errors(accuracies), positions.resolution(collection, accuracies)
    return rates, resolution, positions.figure(collection, rates, resolution.floor)


def test_errors_are_what_accuracy_leaves_and_their_extremes_change_places(measured):
    rates, _, figure = errors_drawn(measured)
    whole = 1 - np.array([by_position(seed)[4:] for seed in (1, 2, 3)], dtype=float)
    np.testing.assert_allclose(rates[0].mean, whole.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(rates[0].low, whole.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(rates[0].high, whole.max(axis=0), atol=1e-6)
    ((x, y),) = lines(figure.axes[0])
    assert x == list(range(4, 256))
    np.testing.assert_allclose(y, 100 * whole.mean(axis=0), atol=1e-4)
    assert [panel.get_yscale() for panel in figure.axes] == ["log", "log"]
    chance = figure.axes[0].lines[-2]
    assert np.asarray(chance.get_ydata()).tolist() == pytest.approx([100 * 6 / 7] * 2)


def test_no_error_is_drawn_where_the_sequences_resolve_nothing_more(record):
    """One error in 1,000 sequences of one of two seeds is the least that shows; none stands at half of it."""
    perfect, once = [None] * 4 + [1.0] * 252, [None] * 4 + [1.0] * 252
    once[100] = 0.999
    made = [
        record("cot", "rope", seed, accuracy_by_position=tuple(values), config={"data": {"test_size": 1000}})
        for seed, values in ((1, perfect), (2, once))
    ]
    rates, resolution, figure = errors_drawn(made)
    assert (resolution.sequences, resolution.seeds) == (1000, 2)
    assert resolution.least == pytest.approx(1 / 2000)
    assert "1000 sequences of 2 seeds" in resolution.note
    assert "0.05 %" in resolution.note
    (rope,) = [curve for curve in rates if curve.at and curve.pe == "rope"]
    assert (rope.mean[95], rope.mean[96], rope.high[96]) == (0.0, pytest.approx(0.0005), pytest.approx(0.001))
    ((x, y),) = lines(figure.axes[0])
    drawn = dict(zip(x, y, strict=True))
    assert drawn[100] == pytest.approx(0.05)
    assert [value for at, value in drawn.items() if at != 100] == pytest.approx([0.025] * 251)
    assert figure.axes[0].get_ylim()[0] == pytest.approx(0.025)  # on the lower edge


def test_guides_and_remarks(measured):
    figure = by_position_drawn(measured)
    for panel in figure.axes:
        level, position = panel.lines[-2], panel.lines[-1]
        assert np.asarray(level.get_ydata()).tolist() == pytest.approx([100 / 7] * 2)
        assert np.asarray(position.get_xdata()).tolist() == [63.5, 63.5]
    said = words(figure)
    for expected in ("L = 64", "missing: Resonance RoPE", "RoPE: 1 of 4 diverged", "chance (14.3 %)", "mean of 3 seeds",
                     "synthetic numbers_only", "band: lowest to highest seed", "sizes are not the paper"):  # fmt: skip
        assert expected in " ".join(said.split()), expected


def test_numbers_and_caption(measured):
    found = positions.rows(collect(measured), "paper", PLACES)
    table = list(csv.DictReader(io.StringIO(csv_text(positions.numbers(found)))))
    assert len(table) == 2 * 252
    first = table[0]
    values = [float(by_position(seed)[4] or 0) for seed in (1, 2, 3)]
    assert (first["task"], first["pe"], first["position"], first["n"]) == ("cot", "rope", "4", "3")
    assert float(first["mean"]) == pytest.approx(sum(values) / 3, rel=1e-5)
    assert (float(first["lowest"]), float(first["highest"])) == pytest.approx((min(values), max(values)))
    said = positions.caption(collect(measured), found)
    assert "trained on 0 to 63, tested up to 255" in said
    assert said.endswith("Profile quick (synthetic numbers_only); sizes are not the paper's.")
    assert "On Semi-recursive even and odd" in " ".join(positions.notes(collect(measured), "paper"))


def test_many_encodings_are_shared_out_over_rows_and_told_apart(record):
    pes = [f"{form}{pe}" for pe in ("rope", "yarn", "pi", "ntk", "llama3", "longrope") for form in ("", "resonance_")]
    records = [record("cot", pe, seed, accuracy_by_position=by_position(seed)) for pe in pes for seed in (1, 2)]
    figure = by_position_drawn(records, [])
    first, second = figure.axes
    assert [len(lines(panel)) for panel in (first, second)] == [8, 4]
    for panel in (first, second):
        curves = [line for line in panel.lines if len(np.asarray(line.get_xdata())) > 2]
        looks = {(str(line.get_color()), str(vars(line)["_dash_pattern"])) for line in curves}
        legend = panel.get_legend()
        assert legend is not None
        assert len(looks) == len(legend.get_texts()) == len(curves)


def test_a_rebuilt_file_is_identical(measured):
    drawn = [by_position_drawn(measured) for _ in range(2)]
    for suffix in FORMATS:
        first, second = (render(figure, suffix, 60) for figure in drawn)
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
        assert b"dc:date" not in first


def history(seed: int) -> tuple[Validation, ...]:
    return tuple(
        Validation(
            epoch=epoch, step=epoch, train_loss=3.0 / epoch + 0.1 * seed, validation_loss=2.0 + 0.1 * seed,
            validation_id_accuracy=0.2 * epoch, validation_ood_accuracy=0.1 * epoch + 0.01 * seed,
        )
        for epoch in (1, 2, 3)
    )  # fmt: skip


def test_learning_curves_have_a_row_a_quantity(record):
    records = [record("cot", "rope", seed, history=history(seed)) for seed in (1, 2, 3)]
    figure = learning_drawn(records)
    columns = figure.axes[::2]  # of the two tasks, the first
    expected = [[3.2, 1.7, 1.2], [2.2, 2.2, 2.2], [20, 40, 60], [12, 22, 32]]
    for panel, values in zip(columns, expected, strict=True):
        ((x, y),) = lines(panel)
        assert x == [1, 2, 3]
        assert y == pytest.approx(values)
    levels = [np.asarray(panel.lines[-1].get_ydata())[0] for panel in columns]
    assert levels == pytest.approx([math.log(7), math.log(7), 100 / 7, 100 / 7])
    assert [panel.get_ylabel() for panel in columns] == [one.title for one in learning.QUANTITIES]


def test_learning_curves_in_numbers(record):
    records = [record("cot", "rope", seed, history=history(seed)) for seed in (1, 2)]
    found = learning.rows(collect(records), "paper", [])
    table = list(csv.DictReader(io.StringIO(csv_text(learning.numbers(found)))))
    assert [(row["quantity"], row["epoch"]) for row in table[:4]] == [
        ("train_loss", "1"), ("train_loss", "2"), ("train_loss", "3"), ("validation_loss", "1"),
    ]  # fmt: skip
    assert (float(table[0]["mean"]), float(table[0]["lowest"]), float(table[0]["highest"])) == (3.15, 3.1, 3.2)
    assert "shared by encodings that share a training" in " ".join(learning.notes(found))


def test_nothing_to_draw_is_a_clear_error(record):
    records = [record(losses=())]
    with pytest.raises(UserError, match="protocol=paper: no record has accuracies by position"):
        by_position_drawn(records)
    with pytest.raises(UserError, match="protocol=paper: no record has a learning curve"):
        learning_drawn(records)
