"""The configuration says what the paper says. Facts copied from the paper (sections 4.1, 4.2), the released code and
the ledger of their differences; nothing here is read from the code under test."""

from __future__ import annotations

from typing import Any

import pytest

from conf.compose import Choice, compose
from conf.plan import plan
from conf.schema import Config
from models.encodings import build_rotary as build
from models.encodings.scalings.yarn import YaRN
from models.spec import plain

# row: key, its value in presets paper, released, zero_shot
LEDGER = {
    1: ("splits", "disjoint", "released", "disjoint"),
    2: ("train_with", "named", "plain", "plain"),
    3: ("scaling_lengths", "text", "code", "code"),
    4: ("beta_fast", 2.0, 2.0, 2.0),
    5: ("yarn_ramp", "index", "index", "index"),
    7: ("freeze_ffn", False, True, False),
    8: ("layers", None, 6, None),
    9: ("bos", True, True, True),
    11: ("softmax_scale", "none", "none", "none"),
    13: ("schedule", "one_cycle", "one_cycle", "one_cycle"),
    14: ("selection", "first_best_id", "first_best_id", "first_best_id"),
    16: ("accuracy", "teacher_forced", "teacher_forced", "teacher_forced"),
    26: ("ntk_base", "plain", "power", "plain"),
}
PRESETS = ("paper", "released", "zero_shot")


def resolved(pe: str, protocol: str, *overrides: str, profile: str = "paper") -> Config:
    return compose(Choice("cot", pe, protocol, profile), overrides)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_of_the_ledger_is_a_switch_with_the_presets_value(preset: str) -> None:
    protocol = plain(resolved("yarn", preset).protocol)
    column = 1 + PRESETS.index(preset)
    assert {row[0]: protocol[row[0]] for row in LEDGER.values()} == {row[0]: row[column] for row in LEDGER.values()}
    assert protocol["beta_slow"] == 1.0  # the other half of row 4
    assert set(protocol) == {row[0] for row in LEDGER.values()} | {"beta_slow", "name"}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_switches_act_where_they_belong(preset: str) -> None:
    config = plain(resolved("yarn", preset))
    column = 1 + PRESETS.index(preset)
    assert config["data"]["splits"] == LEDGER[1][column]
    assert config["model"]["freeze_ffn"] == LEDGER[7][column]
    assert config["model"]["layers"] == (LEDGER[8][column] or 2)
    assert config["model"]["bos"] == LEDGER[9][column]
    assert config["model"]["softmax_scale"] == LEDGER[11][column]
    assert config["optim"]["schedule"] == LEDGER[13][column]
    assert config["pe"]["params"]["beta_fast"] == LEDGER[4][column]
    assert config["pe"]["params"]["ramp"] == LEDGER[5][column]
    assert plain(resolved("ntk", preset))["pe"]["params"]["base_rule"] == LEDGER[26][column]


@pytest.mark.parametrize(
    ("preset", "ramp_length", "factor", "ramp"),
    [("paper", 64, 4.0, (5, 9)), ("released", 257, 257 / 65, (10, 13)), ("zero_shot", 257, 257 / 65, (10, 13))],
)
@pytest.mark.parametrize("pe", ["yarn", "resonance_yarn"])
def test_row_3_lengths_place_yarns_ramp(
    pe: str, preset: str, ramp_length: int, factor: float, ramp: tuple[int, int]
) -> None:
    config = resolved(pe, preset)
    assert config.pe.params["ramp_length"] == ramp_length
    assert config.pe.params["factor"] == pytest.approx(factor, rel=1e-15)
    scaling = build(config.pe, config.model.head_dim).scaling
    assert isinstance(scaling, YaRN)
    assert scaling.correction_range(64, 10_000.0) == ramp


def test_lengths_follow_the_data() -> None:
    text = resolved("yarn", "paper", "data.train_length=32", "data.test_length=96").pe.params
    assert (text["ramp_length"], text["factor"]) == (32, 3.0)
    code = resolved("yarn", "zero_shot", "data.train_length=32", "data.test_length=96").pe.params
    assert (code["ramp_length"], code["factor"]) == (97, 97 / 33)
    assert resolved("dynamic_ntk", "paper", "data.train_length=32").pe.params["train_length"] == 33  # with BOS
    assert resolved("pi", "paper").pe.params == {"factor": 4.0}


@pytest.mark.parametrize(
    ("override", "group", "key", "value"),
    [
        ("protocol.freeze_ffn=true", "model", "freeze_ffn", True),
        ("protocol.layers=3", "model", "layers", 3),
        ("model.layers=6", "model", "layers", 6),
        ("protocol.bos=false", "model", "bos", False),
        ("protocol.softmax_scale=inverse_sqrt", "model", "softmax_scale", "inverse_sqrt"),
        ("protocol.schedule=constant", "optim", "schedule", "constant"),
        ("protocol.splits=released", "data", "splits", "released"),
        ("paths.results=elsewhere", "paths", "runs", "elsewhere/runs"),
        ("paths.results=elsewhere", "tracker", "directory", "elsewhere/wandb"),
    ],
)
def test_a_switch_can_be_thrown_alone(override: str, group: str, key: str, value: object) -> None:
    assert plain(resolved("yarn", "paper", override))[group][key] == value


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("protocol.beta_fast=32", "beta_fast", 32.0),
        ("protocol.yarn_ramp=wavelength", "ramp", "wavelength"),
        ("pe.params.factor=8", "factor", 8),
        ("pe.params.attention_factor=1.0", "attention_factor", 1.0),
    ],
)
def test_yarns_parameters_can_be_set(override: str, key: str, value: object) -> None:
    assert resolved("yarn", "paper", override).pe.params[key] == value


def test_selection_and_accuracy_reach_the_member() -> None:
    overrides = ["protocol.selection=last", "protocol.accuracy=free_running"]
    (member,) = plan(["cot"], ["rope"], [1], ["paper"], "smoke", overrides)
    assert plain(member.spec)["selection"] == "last"
    assert plain(member.spec)["accuracy"] == "free_running"


def test_published_sizes() -> None:
    config: dict[str, Any] = plain(resolved("rope", "paper"))
    task = {"name": "cot", "rule": "cot", "modulus": 17, "far": 1, "near": 3, "h": "sum_mod", "code": ""}
    assert config["task"] == task
    assert {k: v for k, v in config["data"].items() if k not in ("splits", "seed")} == {
        "train_length": 64,
        "test_length": 256,
        "train_size": 10_000,
        "validation_size": 1_000,
        "test_size": 1_000,
    }
    assert config["profile"]["seeds"] == [5549, 4955, 42, 3701, 49]
    assert config["profile"]["protocols"] == ["paper", "zero_shot"]
    model = {"layers": 2, "d_model": 512, "heads": 8, "head_dim": 64, "d_ff": 2048, "dropout": 0.1, "norm_eps": 1e-6}
    assert {key: config["model"][key] for key in model} == model
    optim = {
        "epochs": 150,
        "batch_size": 128,
        "lr": 2e-4,
        "weight_decay": 1e-2,
        "pct_start": 0.1,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
        "base_momentum": 0.85,
        "max_momentum": 0.95,
        "beta2": 0.999,
        "validate_every": 2,
    }
    assert {key: config["optim"][key] for key in optim} == optim
    assert config["pe"]["base"] == 10_000.0


@pytest.mark.parametrize("profile", ["quick", "smoke"])
def test_smaller_profiles_say_so_and_keep_the_rest(profile: str) -> None:
    config = resolved("rope", "paper", profile=profile)
    assert config.profile.name == profile
    assert config.profile.label
    assert config.profile.protocols == ["paper", "zero_shot"]
    assert (config.task.far, config.task.near, config.model.layers) == (1, 3, 2)


def test_quick_has_at_least_three_seeds() -> None:
    assert len(set(resolved("rope", "paper", profile="quick").profile.seeds)) >= 3
