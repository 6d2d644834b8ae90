"""Effective length against plain loops; the table and the figure from records alone."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from msgspec.structs import replace

from conf.rules import length_rules as rules
from eval.evidence.lengths.effective import Reach, build, last_window, reach, windows
from eval.evidence.lengths.figure import figure
from eval.evidence.lengths.tables import document, mean_text, numbers, reach_text
from eval.evidence.table import csv_text, markdown
from eval.store import records
from eval.store.leases import LEASE
from eval.store.probes import LengthsRecord
from posgen.errors import BadValue, UserError
from tests.committed import ROOT
from tests.eval.made import synthetic_lengths

FRACTIONS = st.integers(0, 32).map(lambda right: right / 32)


@given(st.lists(FRACTIONS, min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_windows_are_means_over_every_whole_window(accuracy, width, given_tokens):
    values = [None] * min(given_tokens, len(accuracy)) + accuracy[given_tokens:]
    expected = {}
    for end in range(1, len(values) + 1):
        inside = [values[at] for at in range(max(0, end - width), end) if values[at] is not None]
        if end % width == 0 and inside:
            expected[end] = sum(inside) / len(inside)
        found = last_window(values[:end], width)
        assert found == (pytest.approx(sum(inside) / len(inside)) if inside else None)
    assert windows(values, width) == pytest.approx(expected)


@given(st.dictionaries(st.integers(1, 64).map(lambda n: 64 * n), FRACTIONS, max_size=20), FRACTIONS)
@settings(max_examples=200, deadline=None)
def test_effective_length_is_the_largest_that_no_earlier_window_speaks_against(by_end, threshold):
    good = [n for n in by_end if all(value >= threshold for end, value in by_end.items() if end <= n)]
    found = reach(7, by_end, threshold)
    assert found.length == (max(good) if good else None)
    assert found.open == (bool(by_end) and len(good) == len(by_end))


def test_what_comes_back_later_does_not_count():
    assert reach(1, {64: 0.9, 128: 0.4, 192: 0.9}, 0.5) == Reach(1, 64, False)
    assert reach(1, {64: 0.5, 128: 0.5}, 0.5) == Reach(1, 128, True)
    assert reach(1, {64: 0.4, 128: 0.9}, 0.5) == Reach(1, None, False)


def test_a_mean_of_bounds_is_a_bound_or_nothing():
    some = [Reach(1, 128, False), Reach(2, 320, False)]
    assert mean_text(some, 64) == "224"
    assert mean_text([*some, Reach(3, 4096, True)], 64) == "≥1515"  # (128 + 320 + 4096) / 3
    assert mean_text([*some, Reach(3, None, False)], 64) == "<171"  # (128 + 320 + 64) / 3
    assert mean_text([Reach(1, None, False), Reach(2, 4096, True)], 64) == "—"
    assert [reach_text(one, 64) for one in (some[0], Reach(3, 4096, True), Reach(3, None, False))] == [
        "128", "≥4096", "<64",
    ]  # fmt: skip


@pytest.fixture
def table():
    """RoPE at one length, YaRN fitted to 128 and 256 and under a fixed s of 8."""
    return [
        synthetic_lengths("rope", 1, {64: 0.9, 128: 0.6, 256: 0.2}, None, ("paper", "zero_shot")),
        synthetic_lengths("rope", 2, {64: 0.7, 128: 0.4, 256: 0.6}, None, ("paper", "zero_shot")),
        synthetic_lengths("yarn", 1, {64: 0.9, 128: 0.8, 256: 0.7, 512: 0.1}, 256),
        synthetic_lengths("yarn", 1, {128: 0.95}, 128),
        synthetic_lengths("yarn", 1, {64: 0.6, 128: 0.55, 256: 0.52, 512: 0.51}, 512),
    ]


def test_rows_have_one_form_each(table):
    found = build(table, 0.5)
    rows = {(row.protocol, row.pe, row.form, row.scaling(64)): row for row in found.rows}
    assert set(rows) == {
        ("paper", "rope", "own", "none"), ("zero_shot", "rope", "own", "none"), ("paper", "yarn", "own", "s = 4"),
        ("paper", "yarn", "fitted", "s = n/L"), ("paper", "yarn", "fixed", "s = 8"),
    }  # fmt: skip
    assert rows["paper", "rope", "own", "none"].reaches == (Reach(1, 128, False), Reach(2, 64, False))
    fitted = rows["paper", "yarn", "fitted", "s = n/L"]
    assert dict(zip(fitted.series.at, fitted.series.mean, strict=True)) == {128: 0.95, 256: 0.7, 512: 0.51}
    assert rows["paper", "yarn", "own", "s = 4"].reaches == (Reach(1, 256, False),)
    assert rows["paper", "yarn", "fixed", "s = 8"].reaches == (Reach(1, 512, True),)
    assert found.protocols == ("paper", "zero_shot")


def test_another_threshold_needs_no_measurement(table):
    rows = build(table, 0.65, ["zero_shot"]).rows
    assert [row.reaches for row in rows] == [(Reach(1, 64, False), Reach(2, 64, False))]


def test_the_table_in_markdown_and_csv(table):
    found = build(table, 0.5)
    text = markdown(document(found))
    assert "| paper | CoT | RoPE | none | 96 | 64 to 128 | 2 | 80.00 | 50.00 | 40.00 | — |" in text
    assert "| paper | CoT | YaRN | s = 8 | ≥512 | ≥512 | 1 | 60.00 | 55.00 | 52.00 | 51.00 |" in text
    assert "synthetic numbers_only" in text
    assert "below 50 %" in text
    assert "| modulus | 7 | 17 |" in text.partition("**Differences of profile quick from the paper.**")[2]
    lines = list(csv.DictReader(io.StringIO(csv_text(numbers(found)))))
    (own,) = [line for line in lines if (line["protocol"], line["pe"]) == ("paper", "rope")]
    assert (own["seeds"], own["effective_lengths"], own["fitted_to"]) == ("1 2", "128 64", "")
    assert (own["accuracy_at_128"], own["accuracy_at_512"]) == ("0.5", "")


def test_the_figure_shows_every_form(table):
    drawn = figure(build(table, 0.5), "paper")
    own, fitted, fixed = drawn.axes
    curves = [
        {tuple(np.asarray(line.get_xdata())): tuple(np.asarray(line.get_ydata())) for line in panel.lines}
        for panel in drawn.axes
    ]
    assert curves[0][64, 128, 256] == pytest.approx((80, 50, 40))
    assert curves[0][64, 128, 256, 512] == pytest.approx((90, 80, 70, 10))
    assert curves[1][128, 256, 512] == pytest.approx((95, 70, 51))
    assert curves[2][64, 128, 256, 512] == pytest.approx((60, 55, 52, 51))
    for panel in (own, fitted, fixed):
        assert panel.get_xscale() == "log"
        levels = [np.asarray(line.get_ydata())[0] for line in panel.lines if len(np.asarray(line.get_xdata())) == 2]
        assert pytest.approx(50.0) in levels  # the threshold
        assert pytest.approx(100 / 7) in levels  # chance
    words = " ".join(" ".join(text.get_text() for text in drawn.findobj(Text)).split())
    for expected in ("as in Table 1", "s = n/L", "s = 8", "synthetic numbers_only", "32 test sequences", "L=64"):
        assert expected in words
    with pytest.raises(UserError, match="protocol=released: not measured by length"):
        figure(build(table, 0.5), "released")


def test_what_was_measured_in_different_ways_is_not_pooled():
    made = [synthetic_lengths("rope", 1, {64: 0.9}, None), synthetic_lengths("rope", 2, {64: 0.9}, None)]
    made[1] = replace(made[1], windows=replace(made[1].windows, sequences=8))
    with pytest.raises(UserError, match="different windows, numbers of sequences"):
        build(made, 0.5)


def test_records_of_a_table_are_no_measurement_by_length(record, tmp_path):
    records.append(tmp_path / "records.jsonl", [record()])
    with pytest.raises(UserError, match=r"holds records of kind accuracy, and this takes lengths: .*`posgen table1"):
        records.load(tmp_path / "records.jsonl", kind=LengthsRecord)
    with pytest.raises(UserError, match="posgen lengths --measure"):
        build([], 0.5)


def test_the_rules_are_declared_and_checked():
    found = rules()
    assert (found.lengths[0], found.lengths[-1], found.threshold, found.window) == (64, 4096, 0.5, None)
    assert {4, 8, 16, 64} <= set(found.factors)
    for text, message in (
        ("lengths.threshold=1.5", "lengths.threshold=1.5: use a fraction above 0 and at most 1"),
        ("lengths.lengths=[128,64]", "use growing numbers of tokens"),
        ("lengths.factors=[0.5]", "use numbers of at least 1"),
        ("lengths.sequences=0", "use at least 1"),
        ("lengths.windw=3", "did you mean lengths.window"),
    ):
        with pytest.raises(BadValue, match=message.replace("[", r"\[")):
            rules([text])


def test_drawing_needs_neither_torch_nor_runs(table, tmp_path):
    records.append(tmp_path / "results" / "quick" / "lengths" / "records.jsonl", table)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from cli.main import main\n"
        "try: main(['lengths', '--threshold', '0.65', '--protocol', 'paper', '--pe', 'rope'])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print('heavy:', [name for name in ('torch', 'pandas', 'scipy', 'wandb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.endswith("heavy: []\n"), done.stderr
    assert "| paper | CoT | RoPE | none | 64 | 64 | 2 | 80.00 | 50.00 | 40.00 |" in done.stdout
    folder = tmp_path / "results" / "quick" / "lengths"
    names = {"lengths-paper.png", "lengths.md", "lengths.csv", "records.jsonl", records.LOCK}
    assert {path.name for path in folder.iterdir() if not path.name.startswith(LEASE)} == names
