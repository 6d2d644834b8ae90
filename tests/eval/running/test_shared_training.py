"""An encoding that is another one up to the training length: one training, two test encodings."""

from __future__ import annotations

import pytest

from conf.overrides import choices
from eval.measuring.planned import PlannedMember
from eval.running.plan import plan
from models.spec import LogitScale


def planned(*pes: str, protocols: tuple[str, ...] = ("paper",), overrides: tuple[str, ...] = ()) -> list[PlannedMember]:
    return plan(["cot"], pes, [5549], protocols, "quick", overrides)


def test_rope_and_log_n_are_one_training_tested_twice() -> None:
    (member,) = planned("rope", "log_n")
    (rope,) = planned("rope")
    (alone,) = planned("log_n")
    assert member.spec.run_id == rope.spec.run_id == alone.spec.run_id
    assert member.spec.train_encoding == rope.spec.train_encoding
    assert member.spec.train_encoding.name == "rope"
    tests = {target.pe: target.test_encoding for target in member.targets}
    assert tests["rope"] == "rope"
    assert tests["log_n"].startswith("log_n~")
    scaled = member.spec.labels[tests["log_n"]]
    assert (scaled.logit_scale, scaled.logit_length) == (LogitScale.log_n, 64)
    # RoPE's checkpoint is there for whoever asks for it later.
    assert alone.spec.test_encodings[0].name == "rope"


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("bos", ["true", "false"])
def test_log_n_on_any_encoding_trains_as_that_encoding(bos: str, every: bool) -> None:
    """The longest training query sees L keys with a BOS and L - 1 without one."""
    structures = ("alibi", "fox", "learned", "pope", "randomized", "resonance_yarn", "rnope", "rope", "self_extend")
    pes = [pe for pe in choices("pe") if pe not in ("log_n", "ssmax")] if every else structures
    overrides = (f"protocol.bos={bos}",)
    plain = {m.targets[0].pe: m.spec for m in planned(*pes, overrides=overrides)}
    scaled = {m.targets[0].pe: m.spec for m in planned(*pes, overrides=(*overrides, "pe.logit_scale=log_n"))}
    assert {pe: spec.run_id for pe, spec in scaled.items()} == {pe: spec.run_id for pe, spec in plain.items()}
    assert all(any(e.logit_scale is LogitScale.log_n for e in spec.test_encodings) for spec in scaled.values())


def test_yarn_at_test_time_with_log_n_is_still_the_training_of_rope() -> None:
    members = planned("rope", "yarn", protocols=("zero_shot",), overrides=("pe.logit_scale=log_n",))
    assert [m.spec.run_id for m in members] == [planned("rope")[0].spec.run_id]
    assert {t.pe for t in members[0].targets} == {"rope", "yarn"}


def test_what_acts_while_training_is_a_training_of_its_own() -> None:
    ropes = planned("rope")[0].spec.run_id
    for overrides in (("pe.logit_scale=log_n", "pe.logit_length=32"), ("pe.logit_scale=ssmax_fixed",)):
        (member,) = planned("rope", overrides=overrides)
        assert member.spec.run_id != ropes
        assert member.spec.train_encoding == member.spec.test_encodings[0]
    (trained,) = planned("ssmax")
    assert trained.spec.train_encoding.logit_length == 64
    # The plain form of YaRN has SSMax's weights too: YaRN is what is left out while training.
    members = planned("yarn", protocols=("zero_shot",), overrides=("pe.logit_scale=ssmax",))
    assert members[0].spec.train_encoding.logit_scale is LogitScale.ssmax
    assert members[0].spec.train_encoding.scaling == "none"


def test_a_base_of_the_training_length() -> None:
    for pe in ("rope", "resonance_clip", "pope"):
        symbol, number = planned(pe, overrides=("pe.base=L",)), planned(pe, overrides=("pe.base=64",))
        assert symbol[0].spec.run_id == number[0].spec.run_id
        assert symbol[0].spec.train_encoding.base == 64.0
    assert planned("rope", overrides=("pe.base=L", "data.train_length=32"))[0].spec.train_encoding.base == 32.0
