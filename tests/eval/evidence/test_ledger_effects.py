"""Effects of the ledger's rows: known changes come out as they were put in, intervals as scipy's, and what has no
number shows none."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import matplotlib.colors
import matplotlib.text
import numpy as np
import pytest
import scipy.stats
from msgspec import structs

from conf.ledger import load_ledger
from conf.published import load_table1
from eval.evidence.figures.style import render
from eval.evidence.ledger.effects import Effect, Effects, Kind, build, pooled
from eval.evidence.ledger.heatmap import alt, figure
from eval.evidence.ledger.tables import effects_document, effects_numbers
from eval.evidence.table import csv_text
from eval.evidence.table import markdown as written
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError
from tests.committed import ROOT
from tests.eval.made import with_config

CONF = ROOT / "conf"
LEDGER = load_ledger(CONF / "ledger.yaml")
PLACES = list(load_table1(CONF / "published" / "table1.csv"))
Maker = Callable[..., AccuracyRecord]

BASE = {1: 0.40, 2: 0.50, 3: 0.45}
SPLITS = {1: 0.52, 2: 0.64, 3: 0.55}  # +12, +14, +10 points
DEPTH = {1: 0.30, 2: 0.55, 3: 0.45}  # -10, +5, 0


def member(
    record: Maker, protocols: str, ood: float | None, seed: int, pe: str = "rope", **fields: Any
) -> AccuracyRecord:
    """A record of one training: what it was trained as is told by its first protocol."""
    config = {**fields.pop("config", {}), "train_encoding": {"name": pe, "trained": protocols.split()[0]}}
    return record("cot", pe, seed, ood, tuple(protocols.split()), config=config, **fields)


@pytest.fixture
def records(record: Maker) -> list[AccuracyRecord]:
    """CoT under preset paper: rows 1 and 8 on RoPE, 5 on RoPE (no effect) and YaRN, 16 on RoPE, 26 on NTK-aware."""
    made = []
    for seed in BASE:
        made += [
            member(record, "paper paper+yarn_ramp=wavelength", BASE[seed], seed),
            member(record, "paper+splits=released", SPLITS[seed], seed),
            member(record, "paper+layers=6", DEPTH[seed], seed),
            member(record, "paper", 0.6, seed, "yarn"),
            member(record, "paper+yarn_ramp=wavelength", 0.7, seed, "yarn"),
            member(record, "paper", 0.3, seed, "ntk"),
            member(record, "paper+ntk_base=power", 0.3 - 0.1 * seed, seed, "ntk"),
        ]
        free = member(record, "paper", BASE[seed] - 0.2, seed, accuracy_mode="free_running")
        made.append(structs.replace(free, protocols=("paper+accuracy=free_running",)))
    return made


def built(records: list[AccuracyRecord], confidence: float = 0.95) -> Effects:
    return build(records, LEDGER, PLACES, confidence)


def markdown(effects: Effects) -> str:
    return written(effects_document(effects))


def one(effects: Effects, setting: str, pe: str = "rope", task: str = "cot") -> Effect:
    (found,) = [e for e in effects.effects if (e.variant.setting, e.pe, e.task) == (setting, pe, task)]
    return found


@pytest.mark.parametrize(("setting", "changed"), [("splits=released", SPLITS), ("layers=6", DEPTH)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_a_change_is_the_mean_of_the_pairs_with_students_interval(
    records: list[AccuracyRecord], setting: str, changed: dict[int, float], confidence: float
) -> None:
    effect = one(built(records, confidence), setting)
    after, before = ([100 * by_seed[seed] for seed in (1, 2, 3)] for by_seed in (changed, BASE))
    expected = scipy.stats.ttest_rel(after, before).confidence_interval(confidence)
    assert effect.points == pytest.approx(np.mean(after) - np.mean(before))
    assert (effect.low, effect.high) == pytest.approx(tuple(expected))
    assert effect.base_percent == pytest.approx(45.0)
    assert effect.seeds == (1, 2, 3)
    assert effect.decided == (expected.low > 0)


def test_equal_settings_are_no_effect_and_other_ones_are_measured(records: list[AccuracyRecord]) -> None:
    effects = built(records)
    assert one(effects, "yarn_ramp=wavelength").kind is Kind.none
    assert one(effects, "yarn_ramp=wavelength").points is None
    changed = one(effects, "yarn_ramp=wavelength", "yarn")
    assert (changed.kind, changed.points) == (Kind.measured, pytest.approx(10.0))
    # All seeds changed alike: no spread, so no interval, and nothing is decided.
    assert (changed.low, changed.high, changed.decided) == (None, None, False)


def test_equal_numbers_of_other_settings_are_a_change_of_0(record: Maker) -> None:
    made = [member(record, "paper", 0.5, 1), member(record, "paper+layers=6", 0.5, 1)]
    effect = one(built(made), "layers=6")
    assert (effect.kind, effect.points, effect.low) == (Kind.measured, 0.0, None)


def test_no_effect_does_not_depend_on_which_run_made_the_record(record: Maker) -> None:
    """Two calls of the sweep may train the base twice, as runs that are validated under other encodings."""
    base, changed = member(record, "paper", 0.5, 1), member(record, "paper+beta_fast=32", 0.5, 1)
    changed = with_config(changed, train_encoding=base.config["train_encoding"])
    assert one(built([base, structs.replace(changed, run_id="another")]), "beta_fast=32").kind is Kind.none


def test_running_free_is_paired_with_the_base_after_true_tokens(records: list[AccuracyRecord]) -> None:
    effect = one(built(records), "accuracy=free_running")
    assert (effect.kind, effect.points) == (Kind.measured, pytest.approx(-20.0))


def test_other_encodings_have_the_rows_that_were_measured(records: list[AccuracyRecord]) -> None:
    effects = built(records)
    assert {e.variant.setting for e in effects.effects if e.pe == "ntk"} == {"ntk_base=power"}
    assert one(effects, "ntk_base=power", "ntk").points == pytest.approx(-20.0)
    text = markdown(effects)
    assert "**Base paper, other encodings.**" in text
    assert "| 26 NTK-aware base: ntk_base=power | -20.0 [" in text


def test_what_was_not_measured_is_missing_not_zero(records: list[AccuracyRecord]) -> None:
    effects = built(records)
    assert effects.bases == ("paper",)
    assert one(effects, "bos=false").kind is Kind.missing
    assert one(effects, "splits=released", "yarn").kind is Kind.missing
    assert one(effects, "splits=released", task="recursive").points is None
    text = markdown(effects)
    assert "| 9 BOS: bos=false | — | — | — | — |" in text
    assert "Not measured against paper: 2 train_with=plain," in text
    assert "Measured against paper in some of the cells: 1 splits=released," in text


def test_diverged_seeds_leave_the_pair_and_are_told(records: list[AccuracyRecord], record: Maker) -> None:
    made = [r for r in records if not (r.seed == 2 and "paper+splits=released" in r.protocols)]
    made.append(member(record, "paper+splits=released", None, 2))
    effect = one(built(made), "splits=released")
    assert (effect.points, effect.seeds, effect.diverged) == (pytest.approx(11.0), (1, 3), (2,))
    assert "paper+splits=released CoT RoPE (seed 2)" in markdown(built(made))
    every = [member(record, "paper", 0.5, 1), member(record, "paper+layers=6", None, 1)]
    lost = one(built(every), "layers=6")
    assert (lost.kind, lost.points) == (Kind.diverged, None)
    assert "| 8 Depth: layers=6 | diverged |" in markdown(built(every))


def test_a_single_seed_has_a_change_and_no_interval(record: Maker) -> None:
    made = [member(record, "paper", 0.5, 1), member(record, "paper+layers=6", 0.25, 1)]
    effect = one(built(made), "layers=6")
    assert (effect.points, effect.low, effect.high, effect.decided) == (-25.0, None, None, False)
    assert "1 change of cells over 1 seed," in markdown(built(made))


def test_both_bases_stand_side_by_side(records: list[AccuracyRecord], record: Maker) -> None:
    config = {"model": {"layers": 6, "d_model": 64, "freeze_ffn": True}}
    made = [
        member(record, "released released+train_with=named", 0.2, 1, config=config),
        member(record, "released+layers=null", 0.4, 1, config=config),
    ]
    effects = built([*records, *made])
    assert effects.bases == ("paper", "released")
    assert one(effects, "layers=null").points == pytest.approx(20.0)
    assert {e.variant.base for e in effects.of("released")} == {"released"}
    assert "| layers | 2 in paper, 6 in released | 2 |" in markdown(effects)


def test_without_a_base_there_is_nothing_to_compare(record: Maker) -> None:
    with pytest.raises(UserError, match="sweep --ledger"):
        built([member(record, "zero_shot", 0.5, 1)])


@pytest.fixture
def two_cells(records: list[AccuracyRecord], record: Maker) -> list[AccuracyRecord]:
    """Splits on YaRN too: -3, +1 and -4 points there, so that the two cells nearly cancel in one seed."""
    for seed, change in {1: -0.03, 2: 0.01, 3: -0.04}.items():
        records.append(member(record, "paper+splits=released", 0.6 + change, seed, "yarn"))
    return records


def test_a_mean_is_taken_within_each_seed_and_only_seeds_repeat(two_cells: list[AccuracyRecord]) -> None:
    effects = built(two_cells)
    found = {(e.variant.setting, e.task): e for e in pooled(effects, "paper")}
    own = [(12.0 - 3.0) / 2, (14.0 + 1.0) / 2, (10.0 - 4.0) / 2]
    expected = scipy.stats.ttest_1samp(own, 0.0).confidence_interval(0.95)
    for task in ("cot", "all"):
        mean = found["splits=released", task]
        assert mean.points == pytest.approx(np.mean(own))
        assert (mean.low, mean.high) == pytest.approx(tuple(expected))
        assert mean.base_percent == pytest.approx((45.0 + 60.0) / 2)
    # A cell on which the row does not act is no part of the mean, and what was not measured has none.
    assert found["yarn_ramp=wavelength", "cot"].points == pytest.approx(10.0)
    assert found["splits=released", "recursive"].kind is Kind.missing
    assert found["ntk_base=power", "all"].points == pytest.approx(-20.0)
    assert "| Row | Recursive | CoT | Semi-recursive | All tasks |" in markdown(effects)


def test_a_mean_leaves_out_the_seeds_that_a_cell_lacks(two_cells: list[AccuracyRecord], record: Maker) -> None:
    made = [r for r in two_cells if not (r.seed == 2 and r.protocols == ("paper+splits=released",))]
    made.append(member(record, "paper+splits=released", None, 2, "yarn"))
    made.append(member(record, "paper+splits=released", 0.64, 2))
    (mean,) = [e for e in pooled(built(made), "paper") if (e.variant.setting, e.task) == ("splits=released", "cot")]
    assert (mean.seeds, mean.diverged, mean.base_percent) == ((1, 3), (2,), None)
    assert mean.points == pytest.approx((4.5 + 3.0) / 2)


def test_the_table_says_what_its_numbers_are(records: list[AccuracyRecord]) -> None:
    text = markdown(built(records))
    assert "Profile quick (synthetic numbers_only)" in text
    assert "| d_model | 64 | 512 |" in text
    assert "95% interval (Student's t)" in text
    # 5 measured changes, 3 of them with an interval: 5 % of 3 rounds to none.
    assert "5 changes of cells over 3 seeds" in text
    assert "| 1 Splits: splits=released | **+12.0 [+7.0, +17.0]** | — | — | — |" in text
    assert "| 5 YaRN ramp: yarn_ramp=wavelength | no effect | — | +10.0 | — |" in text


def test_the_csv_has_every_effect_and_empty_fields_for_no_number(records: list[AccuracyRecord]) -> None:
    effects = built(records)
    rows = list(csv.DictReader(io.StringIO(csv_text(effects_numbers(effects)))))
    assert len(effects.effects) == 14 * 12 + 1
    assert len(rows) == len(effects.effects) + 14 * 4  # and the means of each row by task and over all
    row = next(r for r in rows if (r["switch"], r["task"], r["pe"]) == ("layers", "cot", "rope"))
    assert (row["value"], row["kind"], row["seeds"], row["decided"]) == ("6", "measured", "1 2 3", "False")
    assert float(row["change_points"]) == pytest.approx(-5 / 3, abs=1e-6)
    mean = next(r for r in rows if (r["switch"], r["task"], r["pe"]) == ("layers", "all", "mean"))
    assert (mean["change_points"], mean["low"]) == (row["change_points"], row["low"])  # of one cell
    none = next(r for r in rows if (r["switch"], r["task"], r["pe"]) == ("yarn_ramp", "cot", "rope"))
    assert (none["kind"], none["change_points"], none["low"]) == ("none", "", "")


def words(drawn: Any) -> list[str]:
    return [text.get_text() for text in drawn.findobj(matplotlib.text.Text)]


def colour_of(drawn: Any, left: float, row: int) -> tuple[float, ...]:
    """The fill of the first block's cell whose corner is there."""
    (found,) = [p for p in drawn.axes[0].patches if p.get_xy() == (pytest.approx(left), row) and p.get_width() == 1]
    return tuple(found.get_facecolor()[:3])


def test_the_heat_map_shows_numbers_signs_and_what_is_not_known(records: list[AccuracyRecord]) -> None:
    drawn: Any = figure(built(records), "paper")
    seen = words(drawn)
    assert {"+12.0", "-1.7", "+10.0", "-20.0"} <= set(seen)
    assert "profile quick (sizes are not the paper's)\nsynthetic numbers_only" in "\n".join(seen)
    left = 4 + 0.15  # CoT's first column, after the four of the recursive task and a gap
    splits, ramp, depth, missing = (colour_of(drawn, left, row) for row in (0, 4, 6, 7))
    assert ramp == pytest.approx(matplotlib.colors.to_rgb("0.82"))  # no effect: grey
    assert missing == (1.0, 1.0, 1.0)
    assert splits[2] > splits[0]  # a gain is green-blue
    assert depth[0] > depth[2]  # a loss is brown, pale here
    frames = [p for p in drawn.axes[0].patches if p.get_width() < 1]
    assert [p.get_xy()[1] // 1 for p in frames] == [0]  # of row 1 alone the interval leaves 0 out
    bold = [t.get_text() for t in drawn.axes[0].texts if t.get_fontweight() == "bold"]
    assert bold == ["+12.0"]


def test_no_text_of_the_heat_map_is_cut_off_or_covered(records: list[AccuracyRecord]) -> None:
    drawn: Any = figure(built(records), "paper")
    drawn.draw_without_rendering()
    width, height = drawn.bbox.width, drawn.bbox.height
    boxes = []
    for text in drawn.findobj(matplotlib.text.Text):
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= width, text
            assert box.y1 <= height, text
            boxes.append((text.get_text(), box))
    for i, (_, a) in enumerate(boxes):
        for _, b in boxes[i + 1 :]:
            if a.bounds != b.bounds:  # matplotlib lists some labels twice
                assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1)


def test_equal_records_give_equal_pictures(records: list[AccuracyRecord]) -> None:
    assert render(figure(built(records), "paper"), "svg") == render(figure(built(records), "paper"), "svg")


def test_the_heat_map_is_told_in_words(records: list[AccuracyRecord]) -> None:
    assert "splits=released CoT RoPE +12.0" in alt(built(records), "paper")
    with pytest.raises(UserError, match="no row was measured"):
        figure(built([r for r in records if r.protocols == ("paper",)]), "paper")
