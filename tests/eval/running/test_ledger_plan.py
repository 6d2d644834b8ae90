"""What the ledger's sweep and the league's train: no training twice, nothing for a cell that a row leaves as it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from eval.measuring.planned import PlannedMember
from eval.running.plan import plan, plan_places, settings
from eval.running.wide_plans import ledger_places, plan_league
from posgen.errors import BadValue, UserError

OWN = settings("smoke").profile
PES = ("rope", "yarn")


def ledger(rows: Sequence[int], base: str, pes: Sequence[str] = PES) -> list[PlannedMember]:
    return plan_places(ledger_places(["cot"], pes, rows, [base]), [1], "smoke", (), OWN)


def cells(members: Sequence[PlannedMember]) -> dict[str, list[str]]:
    """Training encoding -> its cells as protocol/pe, for plans that train no encoding twice."""
    return {m.spec.train_encoding.name: [f"{c.protocol}/{c.pe}" for c in m.targets] for m in members}


def test_a_row_that_cannot_act_on_a_cell_trains_nothing_for_it() -> None:
    """The ramp of YaRN on RoPE: the very cell of the base, by equality of what would be trained and tested."""
    members = ledger([5], "paper")
    assert [(m.spec.train_encoding.name, [f"{c.protocol}/{c.pe}" for c in m.targets]) for m in members] == [
        ("rope", ["paper/rope", "paper+yarn_ramp=wavelength/rope"]),
        ("yarn", ["paper/yarn"]),
        ("yarn", ["paper+yarn_ramp=wavelength/yarn"]),
    ]
    assert len({(c.test_encoding, c.accuracy) for c in members[0].targets}) == 1


def test_yarn_at_test_time_only_is_the_base_training_of_rope() -> None:
    found = cells(ledger([2], "paper"))
    assert found == {
        "rope": ["paper/rope", "paper+train_with=plain/rope", "paper+train_with=plain/yarn"],
        "yarn": ["paper/yarn"],
    }


def test_what_changes_only_the_test_encoding_of_released_trains_nothing() -> None:
    (member,) = ledger([3, 5, 26], "released", ("rope", "yarn", "ntk"))
    assert member.spec.train_encoding.name == "rope"
    yarns = {c.protocol: c.test_encoding for c in member.targets if c.pe == "yarn"}
    assert len(set(yarns.values())) == 3  # the base's, the text's lengths, the text's ramp
    assert yarns["released"] == yarns["released+ntk_base=plain"]
    assert len({c.test_encoding for c in member.targets if c.pe == "ntk"}) == 3  # row 3 gives it another factor too


def test_running_free_trains_nothing() -> None:
    (rope,) = [m for m in ledger([16], "paper") if m.spec.train_encoding.name == "rope"]
    assert [(c.protocol, c.test_encoding, c.accuracy) for c in rope.targets] == [
        ("paper", "rope", "teacher_forced"),
        ("paper+accuracy=free_running", "rope", "free_running"),
    ]
    assert rope.spec.run_id == plan(["cot"], ["rope"], [1], ["paper"], "smoke")[0].spec.run_id


def test_another_choice_of_checkpoint_trains_again() -> None:
    members = ledger([14], "paper", ("rope",))
    assert [m.spec.selection.value for m in members] == ["first_best_id", "last", "best_loss"]


def test_the_base_is_the_training_of_table_1() -> None:
    """Under protocol paper a scaled encoding is one training, whoever asks for it."""
    (yarn,) = [m for m in ledger([1, 7], "paper") if m.targets[0].protocol == "paper" and m.targets[0].pe == "yarn"]
    assert yarn.spec.run_id == plan(["cot"], ["yarn"], [1], ["paper"], "smoke")[0].spec.run_id


def test_rows_ask_for_the_encodings_that_they_act_on() -> None:
    asked = ledger_places(["cot"], [], [1, 26], ["paper"])
    assert {pe for _, pe, _ in asked} == {"rope", "resonance_rope", "yarn", "resonance_yarn", "ntk", "resonance_ntk"}
    assert {p for _, pe, p in asked if pe == "ntk"} == {"paper", "paper+ntk_base=power"}
    assert {p for _, pe, p in asked if pe == "yarn"} == {"paper", "paper+splits=released", "paper+ntk_base=power"}
    assert {pe for _, pe, _ in ledger_places(["cot"], ["pi"], [26], ["paper"])} == {"pi"}


def test_the_whole_ledger_covers_every_cell_once() -> None:
    tasks = ["recursive", "cot", "semi_recursive"]
    asked = ledger_places(tasks, [], None, ["paper", "released"])
    assert len(set(asked)) == len(asked) == 3 * (4 * (1 + 14) + 4 * (1 + 8) + 2 * 2 * 2)


@pytest.mark.parametrize(
    ("rows", "base", "told"), [([6], "paper", "rows=6: the ledger has the rows 1, 2"), ([4, 9], "released", "rows=4,9")]
)
def test_rows_that_cannot_be_measured_are_told(rows: list[int], base: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        ledger_places(["cot"], [], rows, [base])


def test_scaled_at_test_time_the_league_trains_what_is_plain_once() -> None:
    pes = ["rope", "yarn", "pi", "resonance_rope", "resonance_yarn", "alibi"]
    members, _ = plan_league(["cot"], pes, [1], ["zero_shot_text"], "smoke", (), OWN)
    tested = {
        t.pe: (m.spec.train_encoding.name, m.spec.labels[t.test_encoding].name) for m in members for t in m.targets
    }
    plain, resonance = ("rope", "yarn", "pi"), ("resonance_rope", "resonance_yarn")
    assert tested == {
        **{pe: ("rope", pe) for pe in plain},
        **{pe: ("resonance_rope", pe) for pe in resonance},
        "alibi": ("alibi", "alibi"),
    }
    assert len({m.spec.run_id for m in members}) == len(members) == 3
    # What trains with itself in any case is the same run under both protocols.
    both, _ = plan_league(["cot"], pes, [1], ["paper", "zero_shot_text"], "smoke", (), OWN)
    assert {m.spec.run_id for m in members} < {m.spec.run_id for m in both}
    shared = [m.targets[0].pe for m in both if {"paper", "zero_shot_text"} <= {t.protocol for t in m.targets}]
    assert shared == ["rope", "resonance_rope", "alibi"]


def test_the_league_leaves_out_what_cannot_be_trained_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.running.wide_plans.choices", lambda group: ["rope", "dynamic_ntk", "partial"])
    narrow = ("model.head_dim=2",)
    members, left_out = plan_league(["cot"], [], [1], None, "smoke", narrow, OWN)
    trained = {m.spec.train_encoding.name for m in members}
    # Dynamic NTK's exponent d / (d - 2) has no value for d = 2; a quarter of a head of 2 is no pair.
    assert (trained, set(left_out)) == ({"rope"}, {"dynamic_ntk", "partial"})
    assert "head_dim=2" in str(left_out["dynamic_ntk"])
    with pytest.raises(UserError, match="head_dim"):
        plan_league(["cot"], ["dynamic_ntk"], [1], None, "smoke", narrow, OWN)
    with pytest.raises(BadValue, match=r"optim\.lr=7"):
        plan_league(["cot"], ["rope"], [1], None, "smoke", ("optim.lr=7",), OWN)
