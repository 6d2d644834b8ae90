"""The losses of a text by hand: means, what is bold, verdicts on pairs, the figure's numbers, the commands."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.rules import verdict_rules
from eval.evidence.cells import collect, parted
from eval.evidence.figures.losses import figure, numbers, rows
from eval.evidence.losses.measured import at_the_end, build
from eval.evidence.losses.tables import document
from eval.evidence.losses.tables import numbers as loss_numbers
from eval.evidence.table import csv_text, markdown
from eval.evidence.verdict.judge import PairOutcome
from eval.store.kinds import AccuracyRecord, Metrics, PositionLosses
from eval.store.records import append
from posgen.errors import BadValue
from tests.command import run
from tests.eval.made import synthetic_record, with_config

TEXT = {
    "name": "text",
    "rule": "text",
    "modulus": 256,
    "far": 0,
    "near": 1,
    "h": "none",
    "corpus": "a",
    "texts": "f" * 64,
}
PROFILE = {"name": "text", "label": "made up"}


def text_record(pe: str, seed: int, id_loss: float, ood_loss: float | None, **fields: Any) -> AccuracyRecord:
    """Bins of 32 positions: the ID loss in the first two, the OOD loss in the other six, 0.5 more in the last two."""
    losses = None
    if ood_loss is not None:
        nats = (id_loss, id_loss, *[ood_loss - 0.25] * 4, ood_loss + 0.5, ood_loss + 0.5)
        losses = PositionLosses(width=32, nats=nats)
        metrics = Metrics(id_accuracy=0.5, ood_accuracy=0.25, loss=1.0, id_loss=id_loss, ood_loss=ood_loss)
        fields = {"metrics": metrics, **fields}
    return synthetic_record(
        "text", pe, seed, 0.25 if ood_loss is not None else None, config={"task": TEXT, "profile": PROFILE},
        profile="text", accuracy_by_position=None, loss_by_position=losses, selection="best_id_loss", **fields,
    )  # fmt: skip


@pytest.fixture
def records() -> list[AccuracyRecord]:
    """Resonance RoPE is 0.1 nats lower in every seed but for 0.001, Resonance YaRN higher or lower by chance."""
    made = []
    for seed, noise in ((1, -0.001), (2, 0.0), (3, 0.001)):
        made += [
            text_record("rope", seed, 2.0, 3.0 + seed),
            text_record("resonance_rope", seed, 1.9, 2.9 + seed + noise),
            text_record("yarn", seed, 2.0, 2.5),
            text_record("resonance_yarn", seed, 2.0, 2.5 + 0.2 * (seed - 2)),
            text_record("nope", seed, 2.25, None if seed == 3 else 2.75),
        ]
    return made


def test_means_spreads_and_bits_by_hand(records: list[AccuracyRecord]) -> None:
    table = build(collect(records), verdict_rules())
    losses = {pe: by_protocol["paper"] for (_, pe), by_protocol in table.rows.items()}
    assert list(losses) == ["rope", "resonance_rope", "yarn", "resonance_yarn", "nope"]
    rope = losses["rope"]
    assert rope.id
    assert rope.ood
    assert rope.gap
    assert rope.end
    assert (rope.id.mean, rope.ood.mean, rope.gap.mean, rope.end.mean) == (2.0, 5.0, 3.0, 5.5)
    assert (rope.ood.std, rope.gap.std, rope.seeds) == (1.0, 1.0, (1, 2, 3))
    assert losses["resonance_rope"].best
    assert not rope.best
    assert losses["yarn"].best
    assert losses["resonance_yarn"].best
    assert not losses["nope"].best
    assert (losses["nope"].n_text, losses["nope"].diverged) == ("2/3", (3,))
    lines = list(csv.DictReader(csv_text(loss_numbers(table)).splitlines()))
    (line,) = [line for line in lines if line["pe"] == "rope"]
    assert float(line["ood_bits_per_byte"]) == pytest.approx(5.0 / math.log(2), abs=1e-6)
    assert (line["ood_loss"], line["ood_minus_id"], line["end_loss"], line["seeds"]) == ("5.0", "3.0", "5.5", "1 2 3")
    shown = markdown(document(table))
    assert "| Resonance RoPE | 1.900 ± 0.000 | **4.900 ± 1.001** | 7.069 | +3.000 ± 1.001 | 5.400 | 3 |" in shown
    assert "lower is better" in shown


def test_pairs_are_compared_seed_by_seed_and_lower_is_better(records: list[AccuracyRecord]) -> None:
    """Differences -0.101, -0.100, -0.099: mean -0.1, standard deviation 0.001, |t| = 0.1 / (0.001 / sqrt 3) = 173.2.
    With two degrees of freedom p = 1 - |t| / sqrt(2 + t^2) = 3.333e-05, and twice that after Holm for two."""
    pairs = {pair.pe: pair for pair in build(collect(records), verdict_rules()).pairs}
    assert list(pairs) == ["resonance_rope", "resonance_yarn"]
    rope, yarn = pairs["resonance_rope"], pairs["resonance_yarn"]
    t = 0.1 / (0.001 / math.sqrt(3))
    p = 1 - t / math.sqrt(2 + t * t)
    assert rope.difference
    assert yarn.difference
    assert rope.difference.p is not None
    assert rope.p_adjusted is not None
    assert rope.difference.mean == pytest.approx(-0.1)
    assert rope.difference.p == pytest.approx(p, rel=1e-6)
    assert rope.p_adjusted == pytest.approx(2 * p, rel=1e-6)
    assert rope.outcome is PairOutcome.better
    assert (yarn.difference.mean, yarn.difference.p) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1.0))
    assert yarn.outcome is PairOutcome.undecided
    worse = [text_record(r.pe, r.seed, 2.0, 9.0 - (r.ood_loss or 0)) for r in records if "rope" in r.pe]
    (pair,) = build(collect(worse), verdict_rules()).pairs
    assert pair.outcome is PairOutcome.worse


def test_the_figure_has_every_bin_of_every_encoding(records: list[AccuracyRecord]) -> None:
    collection = collect(records)
    series = rows(collection, "paper")
    assert [curve.pe for curve in series] == ["rope", "resonance_rope", "yarn", "resonance_yarn", "nope"]
    assert series[0].at == (0, 32, 64, 96, 128, 160, 192, 224)
    assert series[0].mean == (2.0, 2.0, 4.75, 4.75, 4.75, 4.75, 5.5, 5.5)
    assert (series[0].low[2], series[0].high[2], series[4].diverged) == (3.75, 5.75, 1)
    lines = list(csv.DictReader(csv_text(numbers(series)).splitlines()))
    assert len(lines) == 5 * 8
    (panel,) = figure(collection, series).axes
    drawn = [np.asarray(line.get_xdata()).tolist() for line in panel.lines]
    middles = [at for at in drawn if len(at) == 8]
    assert len(middles) == 5
    assert middles[0] == [16, 48, 80, 112, 144, 176, 208, 240]
    assert [64, 64] in drawn  # the training length


def test_the_end_is_as_long_as_the_training(records: list[AccuracyRecord]) -> None:
    assert at_the_end(records[0]) == 4.5  # the last 64 of 256 positions: two bins of 32
    assert at_the_end(synthetic_record()) is None


def test_texts_and_computed_tasks_are_never_in_one_table(records: list[AccuracyRecord]) -> None:
    mixed = collect([*records, synthetic_record(profile="text", config={"profile": PROFILE})])
    computed, texts = parted(mixed)
    assert computed
    assert {task for _, task, _ in computed.cells} == {"cot"}
    assert texts
    assert {task for _, task, _ in texts.cells} == {"text"}
    assert parted(collect([synthetic_record()]))[1] is None


def test_texts_of_other_files_are_never_pooled(records: list[AccuracyRecord]) -> None:
    other = {**TEXT, "texts": "0" * 64}
    moved = {**TEXT, "corpus": "b"}

    def of(task: dict) -> AccuracyRecord:
        return with_config(text_record("rope", 2, 2.0, 3.0), task=task)

    first = text_record("rope", 1, 2.0, 3.0)
    collect([first, of(moved)])
    with pytest.raises(ValueError, match=r"task\.texts is f+ in sweep"):
        collect([first, of(other)])


@pytest.fixture
def stored(tmp_path: Path, records: list[AccuracyRecord], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    append(tmp_path / "results" / "text" / "records.jsonl", records)
    return tmp_path / "results" / "text"


def test_the_commands_write_what_they_say(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table1", "--profile", "text", "--format", "all", "--out", str(stored)) == 0
    assert run("verdict", "--profile", "text") == 0
    assert "-0.1000 [" in capsys.readouterr().out
    assert run("figure4", "--format", "png") == 0
    assert run("report", "--profile", "text") == 0
    written = {path.name for path in stored.iterdir() if not path.name.startswith(".l")}
    assert written == {
        "records.jsonl", "losses.md", "losses.csv", "losses.tex", "figure4-paper.png", "figure4-paper.csv",
        "report.html",
    }  # fmt: skip
    page = (stored / "report.html").read_text()
    assert "Language model on a text: losses" in page
    assert "Table 1 in full" not in page


def test_without_a_text_there_is_no_figure_4(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(stored / "others.jsonl", [synthetic_record()])
    assert run("figure4", "--records", str(stored / "others.jsonl")) == 2
    assert "none of these records is of a text" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["figure3", "positions", "curves", "gap"])
def test_what_shows_accuracies_says_that_a_text_has_none(
    stored: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(command, "--profile", "text") == 2
    assert "are of a text, which is measured by its losses" in capsys.readouterr().err


def test_the_effect_is_declared_in_nats() -> None:
    assert verdict_rules().effect_nats == 0.01
    with pytest.raises(BadValue, match=r"verdict.effect_nats=0"):
        verdict_rules(["verdict.effect_nats=0"])
