"""The record store: what is written is read back, a damaged file is named, and nothing is lost or mixed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from eval.store import records
from posgen.errors import BadValue, UserError


def test_what_is_appended_is_read_back_unchanged(tmp_path, full_sweep):
    path = tmp_path / "deep" / "records.jsonl"
    made = full_sweep()
    records.append(path, made)
    assert records.load(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["records.jsonl"]  # no temporary file stays


def test_one_measurement_is_one_line_of_plain_json(tmp_path, record):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(seed=1), record(seed=2)])
    lines = path.read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [1, 2]


def test_an_equal_key_replaces_in_its_place_and_other_lengths_stay(tmp_path, record):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(seed=1, ood=0.25), record(seed=2), record(seed=1, length=512)])
    records.append(path, [record(seed=1, ood=0.75)])
    found = records.load(path)
    assert [(r["seed"], r["length"], r["metrics"]["ood_accuracy"]) for r in found] == [
        (1, 256, 0.75), (2, 256, 0.5), (1, 512, 0.5),
    ]  # fmt: skip


def test_a_replaced_record_hands_its_protocols_on(tmp_path, record):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(run_id="a" * 12, protocols=("paper",))])
    records.append(path, [record(run_id="a" * 12, protocols=("zero_shot",))])
    assert [r["protocols"] for r in records.load(path)] == [["paper", "zero_shot"]]


def test_in_files_made_by_hand_the_last_of_equal_keys_wins(tmp_path, record):
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f"{json.dumps(record(ood=ood))}\n" for ood in (0.1, 0.2, 0.3)))
    assert [r["metrics"]["ood_accuracy"] for r in records.load(path)] == [0.3]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path, record, monkeypatch):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(seed=1)])
    before = path.read_bytes()

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        records.append(path, [record(seed=2)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _append_ten(path: Path, made: list[dict]) -> None:
    for one in made:
        records.append(path, [one])


def test_processes_that_append_at_once_lose_nothing(tmp_path, record):
    path = tmp_path / "records.jsonl"
    context = multiprocessing.get_context("spawn")
    parts = [[record(seed=seed) for seed in range(start, start + 10)] for start in (0, 100, 200)]
    processes = [context.Process(target=_append_ten, args=(path, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(r["seed"] for r in records.load(path)) == [*range(10), *range(100, 110), *range(200, 210)]


def test_a_half_line_is_named_with_file_line_and_remedy(tmp_path, record):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(seed=1), record(seed=2)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{path}, line 2: is not a whole JSON record; .*delete that line") as error:
        records.load(path)
    assert "\n" not in str(error.value)
    damaged = path.read_bytes()
    with pytest.raises(UserError, match="line 2"):
        records.append(path, [record(seed=3)])
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": 2}, "schema=2, but this version of posgen reads schema 1"),
        ({"seed": "five"}, "seed=five should be int"),
        ({"seed": True}, "seed=True should be int"),
        ({"status": "done"}, "status=done should be one of finished, stopped, diverged"),
        ({"metrics": None}, "metrics should be null when the status is diverged"),
        ({"metrics": {"id_accuracy": 1.0, "loss": 1.0}}, "metrics.ood_accuracy is missing"),
        ({"metrics": {"id_accuracy": 1.0, "ood_accuracy": 65.29, "loss": 1.0}}, "should be a fraction from 0 to 1"),
        ({"history": [{"step": 1}]}, "every row of history should have an epoch"),
        ({"history": [{"epoch": 1, "validation_loss": float("nan")}]}, "validation_loss=nan at epoch 1"),
        ({"config": {}}, "config.task is missing"),
        ({"protocols": [1]}, "protocols should hold names"),
    ],
)
def test_a_malformed_record_is_neither_stored_nor_read(tmp_path, record, change, complaint):
    path = tmp_path / "records.jsonl"
    with pytest.raises(UserError, match=complaint):
        records.append(path, [record(**change)])
    assert not path.exists()
    path.write_text(f"\n{json.dumps(record(**change))}\n")
    with pytest.raises(UserError, match=f"line 2: .*{complaint}"):
        records.load(path)


def test_a_missing_key_is_named(tmp_path, record):
    one = record()
    del one["device"]
    with pytest.raises(UserError, match="the key device is missing"):
        records.append(tmp_path / "records.jsonl", [one])


def test_a_number_that_does_not_exist_stays_null(tmp_path, record):
    path = tmp_path / "records.jsonl"
    metrics = {"id_accuracy": 0.5, "ood_accuracy": None, "loss": None}
    records.append(path, [record(length=64, metrics=metrics), record(pe="yarn", ood=None)])
    found = records.load(path)
    assert found[0]["metrics"] == metrics
    assert found[1]["metrics"] is None


def test_gather_names_the_missing_file_and_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"records.jsonl \(there are none .*\); make them with `posgen sweep"):
        records.gather([], None, tmp_path / "results")
    with pytest.raises(UserError, match=r"cannot read the records .*nowhere.jsonl \(No such file or directory\)"):
        records.gather([tmp_path / "nowhere.jsonl"], None, tmp_path)


def test_gather_takes_quick_by_default_and_the_named_profile_otherwise(tmp_path, record):
    records.append(tmp_path / "quick" / "records.jsonl", [record(seed=1)])
    records.append(tmp_path / "smoke" / "records.jsonl", [record(seed=2, profile="smoke")])
    assert [r["seed"] for r in records.gather([], None, tmp_path)] == [1]
    assert [r["seed"] for r in records.gather([], "smoke", tmp_path)] == [2]
    with pytest.raises(UserError, match=r"profile=quik: no records at .* \(there are records of quick, smoke\)"):
        records.gather([], "quik", tmp_path)


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ("narrow", "--profile narrow"),
        ("quick+optim.lr=1e-3", "--profile quick optim.lr=1e-3"),
        ("quick+0a1b2c3d4e5f", "--profile quick KEY=VALUE"),
        ("paper+model.precision=bf16+until=24", "--profile paper model.precision=bf16 --until 24"),
    ],
)
def test_the_remedy_is_a_command_that_makes_the_profile(tmp_path, profile, options):
    with pytest.raises(UserError) as error:
        records.gather([], profile, tmp_path)
    assert f"make them with `posgen sweep {options}`" in str(error.value)


def test_gather_never_mixes_profiles(tmp_path, record):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    records.append(one, [record(seed=1)])
    records.append(other, [record(seed=1, profile="smoke")])  # even with equal keys
    with pytest.raises(UserError, match="profiles quick, smoke are never mixed"):
        records.gather([one, other], None, tmp_path)
    assert [r["profile"] for r in records.gather([one, other], "smoke", tmp_path)] == ["smoke"]
    with pytest.raises(BadValue, match=r"profile=smok: .*did you mean smoke\?"):
        records.gather([one, other], "smok", tmp_path)


def test_gather_keeps_one_sweep(tmp_path, record):
    path = tmp_path / "records.jsonl"
    records.append(path, [record(seed=1), record(seed=2, sweep="again")])
    assert [r["seed"] for r in records.gather([path], None, tmp_path, sweep="again")] == [2]
    with pytest.raises(BadValue, match="sweep=nightly"):
        records.gather([path], None, tmp_path, sweep="nightly")


def test_an_empty_file_is_no_table(tmp_path):
    path = tmp_path / "records.jsonl"
    path.touch()
    with pytest.raises(UserError, match="no record in it"):
        records.gather([path], None, tmp_path)


def test_a_folder_may_hold_a_changed_form_of_its_profile(tmp_path, record):
    """results/paper holds bf16 products: `--profile paper` means them, and their own name stays on every table."""
    changed = {**record(), "profile": "quick+model.precision=bf16"}
    records.append(tmp_path / "quick" / "records.jsonl", [changed])
    assert records.gather([], "quick", tmp_path) == [changed]
    assert records.gather([tmp_path / "quick" / "records.jsonl"], "quick", tmp_path) == [changed]
    elsewhere = tmp_path / "other" / "records.jsonl"
    records.append(elsewhere, [changed])
    with pytest.raises(BadValue, match="profile=quick: no record of it"):
        records.gather([elsewhere], "quick", tmp_path)
    own = {**record(run_id="own"), "profile": "quick"}
    records.append(tmp_path / "quick" / "records.jsonl", [own])
    assert records.gather([], "quick", tmp_path) == [own]
