"""Which records a table is drawn from: one profile's, from its folder or from files that are named, never mixed."""

from __future__ import annotations

import pytest

from eval.store.gathering import gather
from eval.store.probes import LengthsRecord
from eval.store.records import append
from posgen.errors import BadValue, UserError
from tests.eval.made import synthetic_lengths


def test_gather_names_the_missing_file_and_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"records.jsonl \(there are none .*\); make them with `posgen sweep"):
        gather([], None, tmp_path / "results")
    with pytest.raises(UserError, match=r"cannot read the records .*nowhere.jsonl \(No such file or directory\)"):
        gather([tmp_path / "nowhere.jsonl"], None, tmp_path)


def test_gather_takes_quick_by_default_and_the_named_profile_otherwise(tmp_path, record):
    append(tmp_path / "quick" / "records.jsonl", [record(seed=1)])
    append(tmp_path / "smoke" / "records.jsonl", [record(seed=2, profile="smoke")])
    assert [r.seed for r in gather([], None, tmp_path)] == [1]
    assert [r.seed for r in gather([], "smoke", tmp_path)] == [2]
    with pytest.raises(UserError, match=r"profile=quik: no records at .* \(there are records of quick, smoke\)"):
        gather([], "quik", tmp_path)


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
        gather([], profile, tmp_path)
    assert f"make them with `posgen sweep {options}`" in str(error.value)


def test_gather_never_mixes_profiles(tmp_path, record):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    append(one, [record(seed=1)])
    append(other, [record(seed=1, profile="smoke")])  # even with equal keys
    with pytest.raises(UserError, match="profiles quick, smoke are never mixed"):
        gather([one, other], None, tmp_path)
    assert [r.profile for r in gather([one, other], "smoke", tmp_path)] == ["smoke"]
    with pytest.raises(BadValue, match=r"profile=smok: .*did you mean smoke\?"):
        gather([one, other], "smok", tmp_path)


def test_gather_keeps_one_sweep(tmp_path, record):
    path = tmp_path / "records.jsonl"
    append(path, [record(seed=1), record(seed=2, sweep="again")])
    assert [r.seed for r in gather([path], None, tmp_path, sweep="again")] == [2]
    with pytest.raises(BadValue, match="sweep=nightly"):
        gather([path], None, tmp_path, sweep="nightly")


def test_an_empty_file_is_no_table(tmp_path):
    path = tmp_path / "records.jsonl"
    path.touch()
    with pytest.raises(UserError, match="no record in it"):
        gather([path], None, tmp_path)


def test_a_folder_may_hold_a_changed_form_of_its_profile(tmp_path, record):
    """results/paper holds bf16 products: `--profile paper` means them, and their own name stays on every table."""
    changed = record(profile="quick+model.precision=bf16")
    append(tmp_path / "quick" / "records.jsonl", [changed])
    assert gather([], "quick", tmp_path) == [changed]
    assert gather([tmp_path / "quick" / "records.jsonl"], "quick", tmp_path) == [changed]
    elsewhere = tmp_path / "other" / "records.jsonl"
    append(elsewhere, [changed])
    with pytest.raises(BadValue, match="profile=quick: no record of it"):
        gather([elsewhere], "quick", tmp_path)
    own = record(run_id="own")
    append(tmp_path / "quick" / "records.jsonl", [own])
    assert gather([], "quick", tmp_path) == [own]


@pytest.mark.parametrize(
    ("below", "command"),
    [
        ("ledger", "posgen sweep --ledger --profile narrow"),
        ("league", "posgen sweep --league --profile narrow"),
        ("lengths", "posgen lengths --measure --profile narrow"),
    ],
)
def test_other_records_of_a_profile_have_their_own_folder_and_remedy(tmp_path, record, below, command):
    append(tmp_path / "narrow" / "records.jsonl", [record(profile="narrow")])
    with pytest.raises(UserError, match=f"there are none of any profile.*make them with `{command}`"):
        gather([], "narrow", tmp_path, below=below)
    append(tmp_path / "quick" / below / "records.jsonl", [record(seed=7)])
    with pytest.raises(UserError, match="there are records of quick"):
        gather([], "narrow", tmp_path, below=below)
    assert [r.seed for r in gather([], "quick", tmp_path, below=below)] == [7]


def test_a_kind_is_gathered_as_such(tmp_path):
    made = [synthetic_lengths("rope", 1, {64: 0.9}, None), synthetic_lengths("rope", 2, {64: 0.9}, None, sweep="again")]
    append(tmp_path / "quick" / "lengths" / "records.jsonl", made)
    assert gather([], None, tmp_path, below="lengths", kind=LengthsRecord) == made
    assert gather([], None, tmp_path, "again", "lengths", kind=LengthsRecord) == made[1:]
    with pytest.raises(UserError, match="holds records of kind lengths, and this takes accuracy"):
        gather([], None, tmp_path, below="lengths")
