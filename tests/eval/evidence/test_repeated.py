"""The same trainings in two places: what is paired, and how far pairs are apart, against hand-made numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.evidence.repeated.pairs import paired, spread
from eval.store.kinds import AccuracyRecord
from eval.store.records import append
from posgen.errors import UserError
from tests.command import run
from tests.committed import results
from tests.docs.findings import section

Maker = Callable[..., AccuracyRecord]


def test_spread_by_hand() -> None:
    """Two encodings of two seeds: differences 2, -2, 4, 0; variances over seeds 2, 18, 8, 32."""
    cells = [np.array([[10.0, 8.0], [12.0, 14.0]]), np.array([[50.0, 46.0], [54.0, 54.0]])]
    found = spread(cells)
    assert found.pairs == 4
    assert found.repeated == pytest.approx(math.sqrt((4 + 4 + 16 + 0) / 4 / 2))
    assert found.seeds == pytest.approx(math.sqrt((2 + 18 + 8 + 32) / 4))
    # Around their means: (-1, -3), (1, 3), (-2, -4), (2, 4).
    assert found.correlation == pytest.approx((3 + 3 + 8 + 8) / math.sqrt((1 + 1 + 4 + 4) * (9 + 9 + 16 + 16)))
    assert found.largest == 4


def test_one_seed_has_no_spread_over_seeds() -> None:
    found = spread([np.array([[10.0, 13.0]])])
    assert (found.pairs, found.largest) == (1, 3)
    assert math.isnan(found.seeds)
    assert math.isnan(found.correlation)


def test_pairs_are_the_same_task_encoding_and_seed(record: Maker) -> None:
    first = [record(seed=seed, ood=seed / 10) for seed in (1, 2, 3)] + [record(task="recursive", ood=0.2)]
    again = [record(seed=seed, ood=seed / 20, protocols=("zero_shot",)) for seed in (3, 2, 4)]
    pairs = paired(first, again)
    assert [(p.first.seed, p.again.seed) for p in pairs.pairs] == [(3, 3), (2, 2)]
    assert pairs.alone == (2, 1)
    assert [pytest.approx(pair.points) for pair in pairs.pairs] == [(30, 15), (20, 10)]


def test_of_several_the_one_that_shares_a_protocol(record: Maker) -> None:
    """Rows of the ledger are one encoding with one seed, under different protocols."""
    first = [record(ood=0.1, protocols=("paper",)), record(ood=0.2, protocols=("paper+layers=6",))]
    pairs = paired(first, [record(ood=0.3, protocols=("paper+layers=6",))])
    assert [pair.first.ood_accuracy for pair in pairs.pairs] == [0.2]
    with pytest.raises(UserError, match="no training is in both"):
        paired(first, [record(ood=0.3, protocols=("released",))])


def test_what_has_no_number_is_no_pair(record: Maker) -> None:
    first = [record(seed=1, ood=0.1), record(seed=2, ood=None)]
    pairs = paired(first, [record(seed=1, ood=0.1), record(seed=2, ood=0.1)])
    assert [pair.first.seed for pair in pairs.pairs] == [1]
    assert pairs.alone == (0, 1)


def test_other_settings_under_one_name_are_refused(record: Maker) -> None:
    other = record(config={"optim": {"epochs": 12, "batch_size": 64}})
    with pytest.raises(UserError, match=r"differ in optim.epochs \(6, 12\)"):
        paired([record()], [other])


def test_the_command_draws_the_table_of_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """The columns that findings and the command share, of eight epochs."""
    drawn = []
    for first, again in (("", "repeated"), ("league", "league/repeated"), ("league", "league/test_time")):
        files = [str(results() / "quick" / folder / "records.jsonl") for folder in (first, again)]
        assert run("compare", *files, "--format", "markdown") == 0
        tables = capsys.readouterr().out.split("How far apart they end")
        drawn += [line.strip("| ").split(" | ") for line in tables[1].splitlines() if line.startswith("| ")][2:]
    lines = section("Does a seed fix a number?").splitlines()
    told = [line.strip("| ").split(" | ") for line in lines if "| 8 |" in line]
    assert [[task, *numbers] for task, _, _, *numbers in told] == drawn


def test_the_command_on_a_users_mistakes(record: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(tmp_path / "a.jsonl", [record()])
    append(tmp_path / "b.jsonl", [record(task="recursive")])
    assert run("compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")) == 2
    assert "no training is in both files of records" in capsys.readouterr().err
    assert run("compare", str(tmp_path / "a.jsonl"), str(tmp_path / "c.jsonl")) == 2
    assert "c.jsonl" in capsys.readouterr().err
    out = ("--format", "all", "--out", str(tmp_path / "out"))
    assert run("compare", str(tmp_path / "a.jsonl"), str(tmp_path / "a.jsonl"), *out) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.md", "compare.csv"}
