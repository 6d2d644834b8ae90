"""The record store: what is added is read back, a training stands once in a file, and nothing malformed gets in."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eval.store import records
from eval.store.kinds import Training
from eval.store.probes import LengthsRecord
from posgen.errors import UserError
from tests.eval.made import MAKER, synthetic_lengths, synthetic_record, with_config, with_metrics


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def with_digest(line: dict[str, Any]) -> str:
    """A line as it is written down: its last key is the sha256, 16 digits, of what stands before it."""
    body = json.dumps({key: value for key, value in line.items() if key != "sha"})[:-1]
    return f'{body},"sha":"{hashlib.sha256(body.encode()).hexdigest()[:16]}"}}'


def write(path: Path, made: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{with_digest(line)}\n" for line in made))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_what_is_appended_is_read_back_equal(tmp_path: Path, full_sweep: Any) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    made = full_sweep()
    made += [synthetic_record(ood=None, seed=9), synthetic_record(seed=8, status="stopped", trained_epochs=4)]
    made += [synthetic_record(seed=7, accuracy_by_position=(None, 0.25, 1 / 3), protocol={"name": "paper"})]
    records.append(path, made)
    assert records.load(path) == made
    # Nothing temporary stays; the lease is given back.
    assert {file.name for file in path.parent.iterdir()} == {"records.jsonl", records.LOCK, ".lease-000000001.free"}


def test_measurements_by_length_are_read_back_equal(path: Path) -> None:
    made = [synthetic_lengths("yarn", seed, {64: 0.9, 128: 0.1}, 256) for seed in (1, 2)]
    records.append(path, made)
    assert records.load(path, kind=LengthsRecord) == made


def test_lines_are_plain_json_that_says_what_it_is(path: Path) -> None:
    records.append(path, [synthetic_record(seed=1), synthetic_record(seed=2, pe="yarn")])
    training, *measured = lines(path)
    assert (training["kind"], training["schema"]) == ("training", 3)
    assert training["config"]["task"]["modulus"] == 7
    assert [maker["git_commit"] for maker in training["trained_by"]] == ["0123456789abcdef"]
    assert [(one["kind"], one["schema"], one["seed"]) for one in measured] == [("accuracy", 3, 1), ("accuracy", 3, 2)]
    assert {one["training"] for one in measured} == {training["id"]}
    assert [one["encoding"] for one in measured] == [{"name": "rope"}, {"name": "yarn"}]


def test_each_line_ends_with_the_digest_of_what_stands_before(path: Path) -> None:
    records.append(path, [synthetic_record(seed=1), synthetic_lengths("yarn", 2, {64: 0.9}, 256)])
    for line in path.read_text().splitlines():
        body, sha = line[: line.rindex(',"sha":"')], json.loads(line)["sha"]
        assert sha == hashlib.sha256(body.encode()).hexdigest()[:16]


def test_no_bit_can_change_in_silence(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bit of every byte of a file, one after the other: refused, or told as the end of a file that is torn."""
    made = [synthetic_record(seed=5549)]
    records.append(path, made)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            read = records.load(path)
        except UserError:
            continue
        assert read == made or "ends within a line" in capsys.readouterr().err, f"byte {place} of {len(content)}"


def test_a_file_of_schema_2_has_no_digests_and_is_read(path: Path) -> None:
    made = [synthetic_record(seed=1), synthetic_record(seed=2)]
    records.append(path, made)
    older = [{key: value for key, value in {**line, "schema": 2}.items() if key != "sha"} for line in lines(path)]
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in older))
    assert records.load(path) == made
    records.append(path, [synthetic_record(seed=3)])  # and goes on
    assert [line["schema"] for line in lines(path)] == [2, 2, 2, 3]
    assert [r.seed for r in records.load(path)] == [1, 2, 3]


def test_a_training_stands_once_however_many_records_and_appends(path: Path) -> None:
    wide = {"model": {"layers": 2, "d_model": 512}}
    for length in (64, 128, 256):
        records.append(path, [synthetic_record(seed=seed, length=length) for seed in (1, 2, 3)])
        records.append(path, [synthetic_record(seed=seed, length=length, config=wide) for seed in (4, 5)])
    text = path.read_text()
    assert text.count('"kind":"training"') == text.count('"d_model"') == 2
    assert [one["kind"] for one in lines(path)] == [
        "training", *["accuracy"] * 3, "training", *["accuracy"] * 2, *["accuracy"] * 10
    ]  # fmt: skip
    found = records.load(path)
    assert len(found) == 15
    assert {(r.seed, r.training.model.d_model) for r in found} == {(1, 64), (2, 64), (3, 64), (4, 512), (5, 512)}


def test_who_trained_is_part_of_the_training(path: Path) -> None:
    first = synthetic_record(seed=1)
    again = replace(MAKER, git_commit="fedcba9876543210")
    second = synthetic_record(seed=2, training=Training(first.training.config, (MAKER, again)), measured_by=again)
    records.append(path, [first, second])
    assert [one["kind"] for one in lines(path)] == ["training", "accuracy"] * 2
    assert [[maker.git_commit for maker in r.trained_by] for r in records.load(path)] == [
        ["0123456789abcdef"], ["0123456789abcdef", "fedcba9876543210"],
    ]  # fmt: skip


def test_adding_rewrites_nothing(path: Path) -> None:
    dice = random.Random(0)
    before = b""
    for _ in range(30):
        made = [synthetic_record(seed=dice.randrange(9), ood=dice.random()) for _ in range(dice.randrange(4))]
        records.append(path, made)
        after = path.read_bytes() if path.exists() else b""
        assert after.startswith(before)
        assert len(after) > len(before) or not made
        before = after


def test_nothing_to_add_makes_no_file(tmp_path: Path) -> None:
    records.append(tmp_path / "none" / "records.jsonl", [])
    assert list(tmp_path.iterdir()) == []


def test_of_equal_keys_the_last_wins_in_the_place_of_the_first(path: Path) -> None:
    records.append(path, [synthetic_record(seed=1, ood=0.25), synthetic_record(seed=2)])
    records.append(path, [synthetic_record(seed=1, length=512), synthetic_record(seed=1, ood=0.75)])
    assert [(r.seed, r.length, r.ood_accuracy) for r in records.load(path)] == [
        (1, 256, 0.75), (2, 256, 0.5), (1, 512, 0.5),
    ]  # fmt: skip


def test_over_several_files_the_last_wins_too(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    records.append(one, [synthetic_record(seed=1, ood=0.25), synthetic_record(seed=2)])
    records.append(other, [synthetic_record(seed=3), synthetic_record(seed=1, ood=0.75)])
    assert [(r.seed, r.ood_accuracy) for r in records.load(one, other)] == [(1, 0.75), (2, 0.5), (3, 0.5)]
    assert [(r.seed, r.ood_accuracy) for r in records.load(other, one)] == [(3, 0.5), (1, 0.25), (2, 0.5)]


@pytest.mark.parametrize(
    "other",
    [
        {"profile": "smoke"}, {"run_id": "b" * 12}, {"test_encoding": "yarn"}, {"split": "validation"},
        {"accuracy_mode": "free_running"}, {"length": 512}, {"pe": "yarn"},
    ],
)  # fmt: skip
def test_another_measurement_stays_beside(path: Path, other: dict[str, Any]) -> None:
    records.append(path, [synthetic_record(run_id="a" * 12), synthetic_record(**{"run_id": "a" * 12, **other})])
    assert len(records.load(path)) == 2


def test_a_replaced_record_hands_its_protocols_on(path: Path) -> None:
    for protocols in (("paper",), ("zero_shot", "paper"), ("released",)):
        records.append(path, [synthetic_record(run_id="a" * 12, protocols=protocols)])
    assert [r.protocols for r in records.load(path)] == [("paper", "zero_shot", "released")]


def test_a_number_that_does_not_exist_stays_null(path: Path) -> None:
    shorter = with_metrics(synthetic_record(length=64), ood_accuracy=None, loss=None)
    records.append(path, [shorter, synthetic_record(pe="yarn", ood=None)])
    first, second = records.load(path)
    assert (first.id_accuracy, first.ood_accuracy, first.finished) == (0.875, None, True)
    assert (second.metrics, second.ood_accuracy, second.finished) == (None, None, False)
    assert first.metrics is not None
    assert first.metrics.loss is None


def test_a_record_gives_the_settings_that_it_was_made_with(path: Path) -> None:
    records.append(path, [synthetic_record(encoding={"name": "yarn", "scaling": "yarn", "params": {"factor": 4.0}})])
    (one,) = records.load(path)
    assert (one.training.task.modulus, one.training.data.test_length, one.training.optim.epochs) == (7, 256, 6)
    assert (one.spec.scaling, one.spec.params, one.config["pe"]) == ("yarn", {"factor": 4.0}, one.encoding)
    assert one.training.label == "synthetic numbers_only"
    assert with_config(one, profile=None).training.label == ""


def test_a_setting_of_a_later_version_is_told_when_it_is_asked_for(path: Path) -> None:
    records.append(path, [synthetic_record(config={"model": {"layers": 2, "wings": 2}})])
    (one,) = records.load(path)
    assert one.ood_accuracy == 0.5
    with pytest.raises(ValueError, match=r"config\.model is damaged, or of a later version \(.*wings"):
        assert one.training.model


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"seed": "five"}, "seed: Expected `int`, got `str`"),
    ({"seed": True}, "seed: Expected `int`, got `bool`"),
    ({"seed": 1.5}, "seed: Expected `int`, got `float`"),
    ({"run_id": None}, "run_id: Expected `str`, got `null`"),
    ({"status": "done"}, "status: Invalid enum value 'done'"),
    ({"status": "stopped"}, "trained_epochs should be a whole number when the status is stopped, and only then"),
    ({"trained_epochs": 3}, "trained_epochs should be a whole number when the status is stopped, and only then"),
    ({"accuracy_mode": "beam"}, "accuracy_mode: Invalid enum value 'beam'"),
    ({"metrics": None}, "metrics should be null when the status is diverged, and only then"),
    ({"status": "diverged"}, "metrics should be null when the status is diverged, and only then"),
    ({"metrics": {"id_accuracy": 1.0, "loss": 1.0}}, "metrics: .*missing required field `ood_accuracy`"),
    ({"metrics": {"id_accuracy": 1.0, "ood_accuracy": 65.29, "loss": 1.0}}, "metrics.ood_accuracy: .*<= 1.0"),
    ({"metrics": {"id_accuracy": 1.0, "ood_accuracy": 1.0, "loss": -1.0}}, "metrics.loss: .*>= 0.0"),
    ({"accuracy_by_position": [None, 1.5]}, r"accuracy_by_position\[\d\]: .*<= 1.0"),
    ({"history": [{"step": 1}]}, r"history\[\d\]: .*missing required field `epoch`"),
    ({"protocols": [1]}, r"protocols\[\d\]: Expected `str`, got `int`"),
    ({"encoding": "rope"}, "encoding: Expected `object`, got `str`"),
    ({"measured_by": {"device": "cpu"}}, "measured_by: .*missing required field `git_commit`"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), MALFORMED)
def test_a_malformed_record_is_not_stored(path: Path, change: dict[str, Any], complaint: str) -> None:
    def stored() -> None:  # a record that contradicts itself cannot even be made
        records.append(path, [synthetic_record(seed=1), replace(synthetic_record(seed=2), **change)])

    with pytest.raises(ValueError, match=complaint):
        stored()
    assert list(path.parent.iterdir()) == []
    records.append(path, [synthetic_record(seed=1)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=complaint) as told:
        stored()
    assert "\n" not in str(told.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("change", "complaint"), MALFORMED)
def test_a_malformed_record_is_not_read(path: Path, change: dict[str, Any], complaint: str) -> None:
    records.append(path, [synthetic_record()])
    training, measured = lines(path)
    path.write_text(f"{with_digest(training)}\n\n{with_digest({**measured, **change})}\n")
    with pytest.raises(
        UserError, match=f"{path}, line 3: {complaint}.*; restore the file, or delete that line"
    ) as told:
        records.load(path)
    assert "\n" not in str(told.value)


def test_what_cannot_be_stored_names_the_field_and_the_run(path: Path) -> None:
    nan = replace(synthetic_record().history[0], validation_loss=float("nan"))
    for change, complaint in (
        ({"seed": "five"}, "seed: Expected `int`, got `str`"),
        ({"history": (nan,)}, "history: holds what JSON cannot"),
    ):
        wrong = replace(synthetic_record(run_id="a" * 12), **change)
        message = f"this record cannot be stored: {complaint}; report it with the run id {'a' * 12}"
        with pytest.raises(UserError, match=f"^{message}$"):
            records.append(path, [wrong])


@pytest.mark.parametrize("key", ["run_id", "sweep", "created", "measured_by", "metrics", "encoding", "protocols"])
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    records.append(path, [synthetic_record()])
    training, measured = lines(path)
    del measured[key]
    write(path, [training, measured])
    with pytest.raises(UserError, match=f"line 2: Object missing required field `{key}`"):
        records.load(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"config": {}}, "config.task is missing"),
        ({"config": {"task": {}, "data": {}, "model": "wide", "optim": {}}}, "config.model is missing"),
        ({"config": None}, "config: Expected `object`, got `null`"),
        ({"trained_by": []}, "trained_by is empty"),
        ({"trained_by": [{"git_commit": None}]}, r"trained_by\[0\]: .*missing required field `git_dirty`"),
        ({"id": "0" * 12}, "names the training [0-9a-f]{12}, which no line before it describes"),
        ({"schema": 4}, "schema=4, but this version of posgen reads schemas 1, 2 and 3"),
    ],
)
def test_a_malformed_training_is_named(path: Path, change: dict[str, Any], complaint: str) -> None:
    records.append(path, [synthetic_record()])
    training, measured = lines(path)
    write(path, [{**training, **change}, measured])
    with pytest.raises(UserError, match=f"{path}, line [12]: {complaint}.*; restore the file, or delete that line"):
        records.load(path)


def test_a_training_without_a_configuration_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"config\.data is missing"):
        Training({"task": {}, "model": {}, "optim": {}}, (MAKER,))
    with pytest.raises(ValueError, match="trained_by is empty"):
        Training(synthetic_record().training.config, ())


def test_a_record_without_its_training_is_named(path: Path) -> None:
    records.append(path, [synthetic_record()])
    training, measured = lines(path)
    for wrong in ([measured], [measured, training]):  # missing, or only behind it
        write(path, wrong)
        message = f"line 1: names the training {training['id']}, which no line before it describes"
        with pytest.raises(UserError, match=message):
            records.load(path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"schema": 4, "kind": "accuracy"}', "schema=4, but this version of posgen reads schemas 1, 2 and 3"),
        ('{"kind": "accuracy"}', "schema=None, but this version of posgen reads schemas 1, 2 and 3"),
        ('{"schema": 3, "kind": "accuracy"}', "does not have the digest that it ends with: it was damaged, or edited"),
        ("[1, 2]", "is not a JSON object"),
        ("3", "is not a JSON object"),
        ('{"schema": 2, "kind": "acc', "is not a whole JSON record"),
        ('{"schema": 2, "seed": NaN}', "is not a whole JSON record"),
        ("<<<<<<< HEAD", "is not a whole JSON record"),
    ],
)
def test_a_line_that_is_no_record_is_named(path: Path, line: str, complaint: str) -> None:
    records.append(path, [synthetic_record(seed=1)])
    with path.open("a") as file:
        file.write(f"{line}\n")
    records.append(path, [synthetic_record(seed=2)])
    message = f"{path}, line 3: {complaint}; restore the file, or delete that line and run the same sweep again"
    with pytest.raises(UserError, match=message) as told:
        records.load(path)
    assert "\n" not in str(told.value)
    path.write_text(path.read_text().replace(f"{line}\n", ""))  # the remedy
    assert [r.seed for r in records.load(path)] == [1, 2]


def test_records_of_another_kind_name_the_command_that_shows_them(path: Path) -> None:
    records.append(path, [synthetic_lengths("rope", 1, {64: 0.9}, None)])
    with pytest.raises(UserError, match="holds records of kind lengths, and this takes accuracy") as told:
        records.load(path)
    assert f"`posgen lengths --records {path}`" in str(told.value)
    path.unlink()
    records.append(path, [synthetic_record()])
    with pytest.raises(UserError, match="holds records of kind accuracy, and this takes lengths") as told:
        records.load(path, kind=LengthsRecord)
    assert f"`posgen table1 --records {path}`" in str(told.value)


def test_a_kind_that_nobody_knows_is_named(path: Path) -> None:
    records.append(path, [synthetic_record()])
    training, measured = lines(path)
    write(path, [training, {**measured, "kind": "taste"}])
    with pytest.raises(UserError, match="holds records of kind taste, and this takes accuracy"):
        records.load(path)


def test_windows_have_an_accuracy_each(path: Path) -> None:
    records.append(path, [synthetic_lengths("rope", 1, {64: 0.9, 128: 0.5}, None)])
    training, measured = lines(path)
    measured["windows"]["ends"] = [64]
    write(path, [training, measured])
    with pytest.raises(UserError, match="line 2: windows: ends and accuracy should be equally many"):
        records.load(path, kind=LengthsRecord)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the records .*nowhere.jsonl \(No such file or directory\)"):
        records.load(tmp_path / "nowhere.jsonl")
    assert records.load_if_there(tmp_path / "nowhere.jsonl") == []
    records.append(tmp_path / "some.jsonl", [synthetic_record()])
    assert records.load_if_there(tmp_path / "some.jsonl") == [synthetic_record()]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for wrong in (tmp_path / "file" / "records.jsonl", tmp_path / "folder"):
        with pytest.raises(UserError, match=f"cannot write {wrong} .*: name a place that you can write to") as told:
            records.append(wrong, [synthetic_record()])
        assert "\n" not in str(told.value)
