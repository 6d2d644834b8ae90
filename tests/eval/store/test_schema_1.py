"""Files of schema 1, a whole record with its configuration a line, as version 0.1 wrote them: two committed lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from eval.store import records
from eval.store.probes import LengthsRecord
from models.spec import EncodingSpec
from posgen.errors import UserError
from posgen.spec import DataSpec, Task
from tests.committed import ROOT, results
from tests.eval.made import synthetic_record, with_metrics

GOLDEN = ROOT / "tests" / "golden"
ACCURACY, LENGTHS = GOLDEN / "record_schema_1.jsonl", GOLDEN / "record_schema_1_lengths.jsonl"
MOVED = ("schema", "config", "git_commit", "git_dirty", "versions", "device", "trained_by")


def fields_of(record: Any) -> dict[str, Any]:
    """As JSON has them: lists where the record has tuples."""
    names = type(record).__struct_fields__
    return {name: json.loads(msgspec.json.encode(getattr(record, name))) for name in names}


@pytest.mark.parametrize("file", [ACCURACY, LENGTHS])
def test_every_number_is_where_it_was(file: Path) -> None:
    old = json.loads(file.read_text())
    (record,) = records.load(file, kind=LengthsRecord) if file == LENGTHS else records.load(file)
    found, config = fields_of(record), old["config"]
    for name in old.keys() - set(MOVED):
        if name in found:
            assert found[name] == (_whole_rows(old[name]) if name == "history" else old[name]), name
        else:
            assert not old[name], name  # records by length have no history and no accuracy by position
    assert found["encoding"] == config.pop("pe")
    assert found["protocol"] == config.pop("protocol")
    assert record.training.config == config
    assert found["training"]["trained_by"] == old["trained_by"]
    assert record.config == {**config, "pe": record.encoding, "protocol": record.protocol}


def _whole_rows(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("epoch", "step", "train_loss", "train_accuracy")
    measured = ("validation_loss", "validation_id_accuracy", "validation_ood_accuracy")
    return [{name: row.get(name) for name in (*names, *measured)} for row in history]


def test_the_numbers_as_they_stand_in_the_lines() -> None:
    (record,) = records.load(ACCURACY)
    assert (record.task, record.pe, record.seed) == ("recursive", "rope", 5549)
    assert (record.id_accuracy, record.ood_accuracy) == (0.9843, 0.28127604166666664)
    assert record.accuracy_by_position is not None
    assert record.accuracy_by_position[:6] == (None, None, None, None, 0.058, 1.0)
    assert record.training.task == Task("recursive", "recursive")
    assert record.training.data == DataSpec()
    assert (record.training.model.d_model, record.training.label) == (128, "narrow profile, smaller than the paper's")
    assert record.trained_by[-1].git_commit == "3a71e41ce8c5fe0c46ec8d8b0bd67e4aba24562b"
    (by_length,) = records.load(LENGTHS, kind=LengthsRecord)
    assert (by_length.seed, by_length.length, by_length.windows.sequences) == (42, 4096, 16)
    assert by_length.windows.accuracy[:3] == (0.985417, 0.836914, 0.297852)
    assert by_length.spec == EncodingSpec("rope")
    assert (by_length.trained_by[-1].git_commit or "")[:7] == "3a71e41"
    assert (by_length.measured_by.git_commit or "")[:7] == "e1b621e"


def test_the_committed_record_in_todays_form_is_the_same() -> None:
    """results/narrow was rewritten from the file that the golden line was taken from."""
    (old,) = records.load(ACCURACY)
    (new,) = [r for r in records.load(results() / "narrow" / "records.jsonl") if r.key == old.key]
    assert replace(new, training=old.training) == old
    nodes = ("task", "data", "model", "optim", "train_encoding")
    assert all(new.config[node] == old.config[node] for node in (*nodes, "pe", "protocol"))
    assert new.trained_by == old.trained_by
    file = results() / "narrow" / "lengths" / "records.jsonl"
    (by_length,) = records.load(LENGTHS, kind=LengthsRecord)
    (now,) = [r for r in records.load(file, kind=LengthsRecord) if r.key == by_length.key]
    assert (now.windows, now.metrics) == (by_length.windows, by_length.metrics)


def test_both_forms_in_one_file(tmp_path: Path) -> None:
    """A file of version 0.1 that today's version adds to: nothing is rewritten, and equal keys count as ever."""
    path = tmp_path / "records.jsonl"
    path.write_bytes(ACCURACY.read_bytes())
    (old,) = records.load(ACCURACY)
    better = replace(with_metrics(old, ood_accuracy=0.5), protocols=("released",))
    records.append(path, [synthetic_record(profile="narrow"), replace(old, length=512), better])
    assert path.read_bytes().startswith(ACCURACY.read_bytes())
    found = records.load(path)
    assert [(r.pe, r.length, r.ood_accuracy) for r in found] == [
        ("rope", 256, 0.5), ("rope", 256, 0.5), ("rope", 512, old.ood_accuracy)
    ]  # fmt: skip
    assert found[0].protocols == ("paper", "zero_shot", "released")
    assert found[0].training == found[2].training == old.training
    kinds = [json.loads(line).get("kind") for line in path.read_text().splitlines()]
    assert kinds == [None, "training", "accuracy", "training", "accuracy", "accuracy"]


def test_the_old_form_behind_the_new(tmp_path: Path) -> None:
    """Such as two files that somebody joins."""
    path = tmp_path / "records.jsonl"
    (old,) = records.load(ACCURACY)
    records.append(path, [replace(old, seed=1), synthetic_record()])
    with path.open("ab") as file:
        file.write(ACCURACY.read_bytes())
    assert records.load(path) == [old, synthetic_record()]  # an equal key, so in the place of the first


def test_a_record_that_names_nobody_was_trained_by_who_measured_it(tmp_path: Path) -> None:
    old = json.loads(ACCURACY.read_text())
    del old["trained_by"], old["measured_by"]
    (tmp_path / "records.jsonl").write_text(json.dumps(old) + "\n")
    (record,) = records.load(tmp_path / "records.jsonl")
    assert record.trained_by == (record.measured_by,)
    assert record.measured_by.device == old["device"] == "cpu: AMD EPYC, 2 threads"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": "five"}, "seed: Expected `int`, got `str`"),
        ({"metrics": None}, "metrics should be null when the status is diverged"),
        ({"config": None}, "the key config is missing"),
        ({"config": {}}, "config.task is missing"),
        ({"trained_by": [{}]}, r"\[0\]: Object missing required field `git_commit`"),
    ],
)
def test_a_malformed_one_is_named(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"\n{json.dumps({**json.loads(ACCURACY.read_text()), **change})}\n")
    with pytest.raises(UserError, match=f"{path}, line 2: .*{complaint}.*; restore the file, or delete that line"):
        records.load(path)


def test_kinds_are_told_apart() -> None:
    with pytest.raises(UserError, match="holds records of kind lengths, and this takes accuracy"):
        records.load(LENGTHS)
    with pytest.raises(UserError, match="holds records of kind accuracy, and this takes lengths"):
        records.load(ACCURACY, kind=LengthsRecord)
