"""The configuration says what the paper says. Facts copied from the paper (sections 4.1, 4.2), the released code and
the ledger of their differences; nothing here is read from the code under test."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections import Counter
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from conf import names
from conf.compose import Choice, compose, composer
from conf.ledger import ledger, load_ledger, switched_fields, written
from conf.schema import Config, ProtocolSpec
from eval.running.plan import plan
from models.encodings import build_rotary as build
from models.encodings.scalings.yarn import YaRN
from models.spec import plain
from posgen.errors import UserError
from tests.committed import ROOT

# row: key, its value in presets paper, released, zero_shot, zero_shot_text
LEDGER = {
    1: ("splits", "disjoint", "released", "disjoint", "disjoint"),
    2: ("train_with", "named", "plain", "plain", "plain"),
    3: ("scaling_lengths", "text", "code", "code", "text"),
    4: ("beta_fast", 2.0, 2.0, 2.0, 2.0),
    5: ("yarn_ramp", "index", "index", "index", "index"),
    7: ("freeze_ffn", False, True, False, False),
    8: ("layers", None, 6, None, None),
    9: ("bos", True, True, True, True),
    11: ("softmax_scale", "none", "none", "none", "none"),
    13: ("schedule", "one_cycle", "one_cycle", "one_cycle", "one_cycle"),
    14: ("selection", "first_best_id", "first_best_id", "first_best_id", "first_best_id"),
    16: ("accuracy", "teacher_forced", "teacher_forced", "teacher_forced", "teacher_forced"),
    26: ("ntk_base", "plain", "power", "plain", "plain"),
}
PRESETS = ("paper", "released", "zero_shot", "zero_shot_text")
# What is measured against preset paper and against released: the code's value, the text's, or one in use elsewhere.
AGAINST_PAPER = [
    "splits=released", "train_with=plain", "scaling_lengths=code", "beta_fast=32", "yarn_ramp=wavelength",
    "freeze_ffn=true", "layers=6", "bos=false", "softmax_scale=inverse_sqrt", "schedule=constant", "selection=last",
    "selection=best_loss", "accuracy=free_running", "ntk_base=power",
]  # fmt: skip
AGAINST_RELEASED = [
    "splits=disjoint", "train_with=named", "scaling_lengths=text", "yarn_ramp=wavelength", "freeze_ffn=false",
    "layers=null", "softmax_scale=inverse_sqrt", "ntk_base=plain",
]  # fmt: skip


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
    [
        ("paper", 64, 4.0, (5, 9)),
        ("zero_shot_text", 64, 4.0, (5, 9)),
        ("released", 257, 257 / 65, (10, 13)),
        ("zero_shot", 257, 257 / 65, (10, 13)),
    ],
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
def test_a_switch_can_be_overridden_alone(override: str, group: str, key: str, value: object) -> None:
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
    assert config["task"] == {**task, "corpus": "", "texts": "", "gap": 0, "answers": "fed_back"}
    assert {k: v for k, v in config["data"].items() if k not in ("splits", "seed")} == {
        "train_length": 64,
        "test_length": 256,
        "train_size": 10_000,
        "validation_size": 1_000,
        "test_size": 1_000,
    }
    assert config["profile"]["seeds"] == [5549, 4955, 42, 3701, 49]
    assert config["profile"]["protocols"] == ["paper", "zero_shot", "zero_shot_text"]
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
    assert config.profile.protocols[:2] == ["paper", "zero_shot"]
    assert (config.task.far, config.task.near, config.model.layers) == (1, 3, 2)


def test_quick_has_at_least_three_seeds() -> None:
    assert len(set(resolved("rope", "paper", profile="quick").profile.seeds)) >= 3


def test_the_file_has_every_row_once_with_the_values_of_the_presets() -> None:
    book = ledger()
    assert [row.number for row in book.rows] == sorted(LEDGER)
    for row in book.rows:
        key, paper, released, *_ = LEDGER[row.number]
        assert row.switches[0].key == key
        assert (row.switches[0].default, row.switches[0].code) == (paper, released)
    assert (book.presets["zero_shot"], book.presets["zero_shot_text"]) == ((2, 3), (2,))
    for preset in PRESETS:
        switches = {**plain(resolved("yarn", preset).protocol)}
        assert switches.pop("name") == preset
        assert book.preset(preset) == switches


def test_every_switch_of_the_schema_is_named_by_exactly_one_row() -> None:
    named = Counter(switch.key for row in ledger().rows for switch in row.switches)
    assert named == Counter(field.name for field in dataclasses.fields(ProtocolSpec) if field.name != "name")


def test_schema_and_presets_cite_the_rows_of_the_file() -> None:
    """The docstring of a switch's choices and the comment beside its value name the row that the file gives it."""
    numbers = {switch.key: row.number for row in ledger().rows for switch in row.switches}
    hints = typing.get_type_hints(ProtocolSpec)
    choices = {key: hint for key, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Enum)}
    assert len(choices) == 9
    for key, hint in choices.items():
        assert re.findall(r"[Ll]edger row (\d+)", hint.__doc__ or "") == [str(numbers[key])], key
    for preset in PRESETS:
        text = (ROOT / "conf" / "protocol" / f"{preset}.yaml").read_text(encoding="utf-8")
        cited = re.findall(r"^(\w+): .*# (\d+)\b", text, flags=re.MULTILINE)
        assert cited
        assert {(key, numbers[key]) for key, _ in cited} == {(key, int(number)) for key, number in cited}


@pytest.mark.parametrize(("base", "settings"), [("paper", AGAINST_PAPER), ("released", AGAINST_RELEASED)])
def test_what_is_measured_against_a_base(base: str, settings: list[str]) -> None:
    variants = list(ledger().variants(base))
    assert [variant.protocol for variant in variants] == [f"{base}+{setting}" for setting in settings]
    before = plain(resolved("rope", base).protocol)
    with composer() as make:
        for variant in variants:
            # The name is the definition: composing it gives the base with that one switch at another value.
            after = plain(make(Choice("cot", "rope", variant.protocol, "paper"), ()).protocol)
            assert {key for key in before if before[key] != after[key]} == {"name", variant.key}
            assert (after["name"], after[variant.key]) == (variant.protocol, variant.value)


def test_what_switches_decide_is_what_changes_with_them() -> None:
    """Every switch in turn at another value, which the ledger gives (all have a row): what else composes otherwise."""
    changed: set[str] = set()
    with composer() as make:
        before = plain(make(Choice("cot", "yarn", "paper", "paper"), ()))
        for row in ledger().rows:
            for switch in row.switches:
                value = next(iter([*switch.alternatives("paper"), 1.5]))  # beta_slow has no alternative
                after = plain(make(Choice("cot", "yarn", f"paper+{switch.key}={written(value)}", "paper"), ()))
                assert after["protocol"][switch.key] != before["protocol"][switch.key]
                changed |= {
                    f"{group}.{key}"
                    for group in ("task", "data", "model", "optim", "tracker", "paths")
                    for key in before[group]
                    if before[group][key] != after[group][key]
                }
    assert changed == {field for field in switched_fields() if not field.startswith("pe.")}
    assert {"data.splits", "model.layers", "model.bos", "optim.schedule"} < changed


def test_a_base_and_its_switches_are_told_and_sorted_together() -> None:
    assert (
        names.protocol("paper+layers=6+bos=false") == "paper+layers=6+bos=false: as paper, but layers=6 and bos=false"
    )
    found = ["released+bos=false", "mine", "paper+layers=6", "released", "zero_shot", "paper"]
    assert sorted(found, key=names.protocol_order) == [
        "paper", "paper+layers=6", "released", "released+bos=false", "zero_shot", "mine",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "overrides", "told"),
    [
        ("papper+layers=6", [], "did you mean paper"),
        ("paper+layer=6", [], "did you mean protocol.layers"),
        ("paper+layers=six", [], "whole number"),
        ("paper+beta_fast=0.5", [], "beta_fast"),
        ("paper+layers", [], "KEY=VALUE"),
        ("paper+layers=6", ["protocol.layers=3"], "already"),
    ],
)
def test_a_switch_that_cannot_be_overridden_is_told(protocol: str, overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        resolved("rope", protocol, *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("number: 3", "number: 2", "number=2.*twice"),
        ("topic: Depth", "topick: Depth", "topick=Depth"),
        ("    acts: data\n", "    acts: dataa\n", "acts=dataa"),
        ("splits: {default: disjoint, text", "splits: {default: disjoint, txt", "txt=disjoint"),
        ("  paper: []", "  paper: [6]", "presets.paper=6"),
        ("code: released}", "coded: released}", "coded"),
        ("    topic: Splits\n", "", "'topic'"),
    ],
)
def test_a_damaged_ledger_is_told_in_one_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = (files("conf") / "ledger.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "ledger.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=told) as caught:
        load_ledger(tmp_path / "ledger.yaml")
    assert "\n" not in str(caught.value)
