"""Which members a choice asks for: every training once, whatever it serves."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from conf.published import table1_names
from eval.measuring.planned import PlannedMember
from eval.running.plan import plan, settings
from posgen.errors import BadValue, UserError

TASKS = ["recursive", "cot", "semi_recursive"]
PES = ["rope", "resonance_rope", "yarn", "resonance_yarn"]


def smoke(
    protocols: list[str] | None = None, overrides: tuple[str, ...] = (), seeds: tuple[int, ...] = (1,)
) -> list[PlannedMember]:
    return plan(["cot"], PES, list(seeds), protocols, "smoke", overrides)


@pytest.fixture(scope="module")
def table1() -> list[PlannedMember]:
    return plan(TASKS, PES, [5549, 4955, 42], ["paper", "zero_shot"], "quick")


def test_all_means_table_1() -> None:
    assert table1_names() == (TASKS, PES)


def test_table_1_under_two_protocols_is_36_trainings(table1: list[PlannedMember]) -> None:
    assert len(table1) == 36
    assert len({member.spec.run_id for member in table1}) == 36
    trained = Counter((member.spec.task.name, member.spec.train_encoding.name) for member in table1)
    assert trained == {(task, pe): 3 for task in TASKS for pe in PES}


def test_every_cell_is_filled_once_a_seed(table1: list[PlannedMember]) -> None:
    cells = Counter((c.protocol, m.spec.task.name, c.pe, m.spec.seed) for m in table1 for c in m.targets)
    wanted = {
        (protocol, task, pe, seed)
        for protocol in ("paper", "zero_shot")
        for task in TASKS
        for pe in PES
        for seed in (5549, 4955, 42)
    }
    assert cells == dict.fromkeys(wanted, 1)


def test_a_third_protocol_is_tests_alone(table1: list[PlannedMember]) -> None:
    """YaRN at test time with the text's lengths: the same trainings, each tested under a second YaRN."""
    members = plan(TASKS, PES, None, None, "quick")
    assert [m.spec.trajectory for m in members] == [m.spec.trajectory for m in table1]
    rope = members[0].spec
    assert [(e.name, e.params.get("ramp_length")) for e in rope.test_encodings] == [
        ("rope", None), ("yarn", 257), ("yarn", 64),
    ]  # fmt: skip
    assert len({m.spec.run_id for m in members}) == 36


@pytest.mark.parametrize(("plain", "scaled"), [("rope", "yarn"), ("resonance_rope", "resonance_yarn")])
def test_the_plain_training_serves_three_cells(table1: list[PlannedMember], plain: str, scaled: str) -> None:
    member = next(m for m in table1 if m.spec.train_encoding.name == plain)
    assert [(c.protocol, c.pe, c.test_encoding) for c in member.targets] == [
        ("paper", plain, plain),
        ("zero_shot", plain, plain),
        ("zero_shot", scaled, f"{scaled}~{member.spec.test_encodings[1].key}"),
    ]
    names = [encoding.name for encoding in member.spec.test_encodings]
    assert names == [plain, scaled, scaled]  # the profile has a third protocol: YaRN with the text's lengths
    # zero_shot: the released code's lengths, 257 and 257/65 (ledger row 3)
    assert member.spec.test_encodings[1].params["ramp_length"] == 257
    assert member.spec.test_encodings[1].params["factor"] == 257 / 65
    assert member.spec.train_encoding == member.spec.test_encodings[0]


def test_the_scaled_training_serves_protocol_paper_alone(table1: list[PlannedMember]) -> None:
    member = next(m for m in table1 if m.spec.train_encoding.name == "yarn")
    assert [(c.protocol, c.pe, c.test_encoding) for c in member.targets] == [("paper", "yarn", "yarn")]
    assert member.spec.train_encoding.params["ramp_length"] == 64
    assert member.spec.test_encodings == (member.spec.train_encoding,)


def test_order_and_identity_do_not_depend_on_the_call() -> None:
    first, second = smoke(["paper"], seeds=(1, 2)), smoke(["paper"], seeds=(1, 2))
    assert first == second
    assert [m.spec.run_id for m in smoke(["paper"], seeds=(2,))] == [m.spec.run_id for m in first if m.spec.seed == 2]


def test_zero_shot_alone_trains_half() -> None:
    assert [m.spec.train_encoding.name for m in smoke(["zero_shot"])] == ["rope", "resonance_rope"]


def test_released_shares_no_training_with_the_text() -> None:
    members = smoke(["paper", "released"])
    assert [{c.protocol for c in m.targets} for m in members].count({"paper"}) == 4
    assert [{c.protocol for c in m.targets} for m in members].count({"released"}) == 2
    released = next(m for m in members if m.targets[0].protocol == "released")
    assert (released.spec.model.layers, released.spec.model.freeze_ffn) == (6, True)


def test_two_test_encodings_of_one_name_get_labels_of_their_own() -> None:
    members = smoke(overrides=("protocol.train_with=plain",))
    rope = next(m for m in members if m.spec.train_encoding.name == "rope")
    labels = [c.test_encoding for c in rope.targets if c.pe == "yarn"]
    assert len(rope.spec.test_encodings) == 3
    assert len(set(labels)) == 2
    assert all(label.startswith("yarn~") for label in labels)


def test_other_scalings_train_plain_as_well() -> None:
    members = plan(["cot"], ["pi", "resonance_ntk"], [1], ["zero_shot"], "smoke")
    assert [m.spec.train_encoding.name for m in members] == ["rope", "resonance_rope"]
    assert [[t.test_encoding.partition("~")[0] for t in m.targets] for m in members] == [["pi"], ["resonance_ntk"]]


def test_how_a_training_is_tested_is_no_part_of_its_identity() -> None:
    """`train --pe rope` and a sweep that tests RoPE's weights with YaRN share one training, in either order."""
    alone = plan(["cot"], ["rope"], [1], ["paper"], "smoke")[0]
    swept = plan(["cot"], PES, [1], None, "smoke")[0]
    scaled = plan(["cot"], ["yarn"], [1], ["zero_shot"], "smoke")[0]
    free = plan(["cot"], ["rope"], [1], ["paper"], "smoke", ["protocol.accuracy=free_running"])[0]
    assert {m.spec.run_id for m in (alone, swept, scaled, free)} == {alone.spec.run_id}
    # It is validated under all that the whole table needs, whichever part was asked for.
    assert set(alone.spec.labels) == set(swept.spec.labels) == set(scaled.spec.labels)
    assert {label.partition("~")[0] for label in alone.spec.labels} == {"rope", "yarn"}
    assert next(iter(scaled.spec.labels)) == "rope"
    assert [t.pe for t in alone.targets] == ["rope"]  # and measured as asked
    other = plan(["cot"], ["rope"], [1], ["paper"], "smoke", ["protocol.selection=last"])[0]
    assert other.spec.run_id != alone.spec.run_id
    assert other.spec.trajectory == alone.spec.trajectory


def test_seeds_and_protocols_default_to_the_profiles() -> None:
    members = plan(["cot"], ["yarn"], None, None, "smoke")
    base = settings("smoke")
    assert {m.spec.seed for m in members} == set(base.profile.seeds)
    assert {c.protocol for m in members for c in m.targets} == set(base.profile.protocols)


def test_the_configuration_is_plain_and_complete(table1: list[PlannedMember]) -> None:
    config = table1[0].config
    assert json.loads(json.dumps(config)) == config
    assert {"task", "data", "pe", "model", "optim", "protocol", "profile", "seed"} <= set(config)
    assert config["seed"] == table1[0].spec.seed
    assert list(config["test_encodings"].values())[1]["params"]["ramp_length"] == 257
    assert [cell["pe"] for cell in config["cells"]] == ["rope", "rope", "yarn"]


def test_changed_settings_are_a_profile_of_their_own() -> None:
    (member,) = plan(["cot"], ["rope"], [1], ["paper"], "smoke", ["optim.lr=0.1"])
    assert member.spec.optim.lr == 0.1
    assert member.config["profile"]["name"] == "smoke+optim.lr=0.1"
    assert member.config["profile"]["label"].endswith("changed: optim.lr=0.1")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pe.params.factor=x"], "pe.params.factor=x"),
        (["pe.params.factor=0.5"], "pe.params.factor=0.5"),
        (["pe.scaling=yarm"], "pe.scaling=yarm"),
        (["task.h=sum_mud"], "task.h=sum_mud"),
        (["profile.seeds=[]"], "profile.seeds"),
    ],
)
def test_bad_parameters_are_told_while_planning(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(["cot"], ["yarn"], None, ["paper"], "smoke", overrides)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(BadValue, match="did you mean resonance_yarn"):
        plan(["cot"], ["resonance_yarm"], [1], ["paper"], "smoke")
    with pytest.raises(BadValue, match="zero_shot"):
        plan(["cot"], ["rope"], [1], ["zeroshot"], "smoke")


@pytest.mark.parametrize(
    "pe",
    ["p_rope", "partial", "resonance_p_rope", "alibi", "t5_bias", "randomized", "nope", "rnope", "fox"],
)
def test_what_is_no_scaling_for_length_trains_as_itself_under_every_protocol(pe: str) -> None:
    (member,) = plan(["cot"], [pe], [1], ["paper", "zero_shot"], "smoke")
    assert member.spec.train_encoding == member.spec.test_encodings[0]
    assert [cell.protocol for cell in member.targets] == ["paper", "zero_shot"]


@pytest.mark.parametrize("pe", ["ntk_by_parts", "llama3", "dynamic_ntk", "pi", "rerope", "leaky_rerope", "self_extend"])
def test_scalings_for_length_are_left_out_of_plain_training(pe: str) -> None:
    (member,) = plan(["cot"], [pe], [1], ["zero_shot"], "smoke")
    assert member.spec.train_encoding.name == "rope"
    assert [member.spec.labels[t.test_encoding].name for t in member.targets] == [pe]


def test_remapped_distances_share_the_trainings_of_rope_and_yarn() -> None:
    """Under zero_shot four encodings are tested with one training, which protocol `paper` has for RoPE itself; with
    Resonance it is Resonance RoPE's. Under `paper` each trains with its own distances."""
    pes = ["rope", "yarn", "rerope", "self_extend"]
    (shared,) = plan(["cot"], pes, [1], ["zero_shot"], "smoke")
    (rope,) = plan(["cot"], ["rope"], [1], ["paper"], "smoke")
    assert shared.spec.run_id == rope.spec.run_id
    assert [target.pe for target in shared.targets] == pes
    (resonant,) = plan(["cot"], ["resonance_rerope", "resonance_yarn"], [1], ["zero_shot"], "smoke")
    assert resonant.spec.train_encoding.name == "resonance_rope"
    assert len(plan(["cot"], pes, [1], ["paper"], "smoke")) == len(pes)


def test_distances_remapped_on_top_of_p_rope_train_as_p_rope() -> None:
    changes = ["pe.scaling=p_rope", "pe.params.p=0.75", "pe.params.factor=1.0"]
    (on_top,) = plan(["cot"], ["rerope"], [1], ["zero_shot"], "smoke", changes)
    (p_rope,) = plan(["cot"], ["p_rope"], [1], ["paper"], "smoke", ["pe.params.p=0.75"])
    assert on_top.spec.train_encoding == p_rope.spec.train_encoding


def test_windows_and_groups_follow_the_lengths() -> None:
    """L = 64 and L' = 256: a window of a quarter for layers, of a half for distances, and groups of 8."""
    pes = ["rnope", "rerope", "leaky_rerope", "self_extend"]
    params = {
        m.spec.train_encoding.name: m.spec.train_encoding.params for m in plan(["cot"], pes, [1], ["paper"], "quick")
    }
    assert params["rnope"] == {"pattern": ["rope", "nope"], "window": 16}
    assert params["rerope"] == {"window": 32}
    assert params["leaky_rerope"] == {"window": 32, "k": 8}
    assert params["self_extend"] == {"window": 32, "group": 8, "offset": "floor"}
