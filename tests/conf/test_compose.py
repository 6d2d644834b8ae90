"""Composing many configurations against Hydra's own, which keeps nothing between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from conf import files, merging
from conf.compose import Choice, compose
from conf.merging import TITLED
from conf.overrides import choices
from conf.schema import GROUPS
from posgen.errors import UserError
from posgen.plain import plain

CASES: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    ({"task": "cot", "pe": "yarn", "protocol": "released", "profile": "paper"}, []),
    ({"pe": "yarn", "profile": "smoke"}, ["optim.lr=0.5", "data.test_length=64", "model.heads=4"]),
    ({"pe": "rope", "profile": "smoke"}, ["model.heads=2", "seed=7", "device=cpu"]),
    ({"pe": "rope", "profile": "smoke"}, ["data.seed=3", "tracker=none", "profile.seeds=[1,2]"]),
    ({"pe": "rope", "profile": "smoke"}, ["tracker=wandb", "tracker.project=mine", "protocol.layers=3"]),
    ({"pe": "resonance_yarn"}, ["protocol.scaling_lengths=code", "protocol.beta_fast=16", "data.train_length=32"]),
    ({"pe": "rounded", "protocol": "released"}, ["pe.base=500", "data.train_length=32"]),
    ({"pe": "rope"}, ["pe=resonance_llama3"]),
    ({"pe": "rope"}, ["threads=null", "paths.results=${oc.env:HOME}/x", "task.h=sum_mod"]),
]


def by_hydra(named: dict[str, str], overrides: list[str]) -> dict[str, Any]:
    """Everything given to Hydra at once."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        node = hydra_compose("config", [f"{key}={name}" for key, name in named.items()] + overrides)
    container: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=False)
    for group in TITLED:
        container[group].pop("title", None)
    return dict(container)


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize(("named", "overrides"), CASES)
def test_a_configuration_is_hydras(named: dict[str, str], overrides: list[str], again: int) -> None:
    """In any order and more than once: what one call sets is in no other."""
    composed = plain(compose(Choice(**named), overrides))
    assert {**composed, "pe": None, "task": None} == {**plain(by_hydra(named, overrides)), "pe": None, "task": None}
    expected = plain(by_hydra(named, overrides))
    for group in ("pe", "task"):  # composing adds the sum of a user's own code, which there is none of here
        assert {**composed[group], "code": None} == {**expected[group], "code": None}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", choices("protocol"))
@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("pe", choices("pe"))
def test_every_encodings_file_is_merged_as_hydra_does(pe: str, profile: str, protocol: str) -> None:
    """Composing reads a further encoding's file by itself."""
    named = {"pe": pe, "profile": profile, "protocol": protocol}
    composed, expected = plain(compose(Choice(**named))), plain(by_hydra(named, []))
    added = {"code": None, "logit_length": None}  # by composing: sums of code, and a length that a null stands for
    assert {**composed["pe"], **added} == {**expected["pe"], **added}
    assert {**composed, "pe": None, "task": None} == {**expected, "pe": None, "task": None}


def test_no_other_groups_file_sets_a_key_of_an_encoding() -> None:
    """A further encoding's file is put in place of another, whatever else was merged."""
    groups = [name for name in GROUPS if name != "pe"]
    assert [file for group in (*groups, "profile") for file in files.group(group) if "pe" in files.load(file)] == []


def test_an_encodings_file_with_defaults_of_another_kind_is_hydras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that takes a file and no more, which only Hydra may understand."""
    load = OmegaConf.load
    merging.merged.cache_clear()  # others may have composed the same

    def without_itself(file: Any) -> Any:
        # Hydra itself loads opened files.
        own = isinstance(file, Path) and file.stem == "yarn"
        return OmegaConf.create({"defaults": ["rope"]}) if own else load(file)

    monkeypatch.setattr(OmegaConf, "load", without_itself)
    composed = plain(compose(Choice(pe="yarn", profile="smoke"), ["seed=3"]))
    assert (composed["pe"]["name"], composed["seed"]) == ("yarn", 3)


@pytest.mark.parametrize("wrong", ["optim.lr=fast", "data.train_length=[1]", "model.heads={a: 1}"])
def test_a_value_of_the_wrong_type_is_one_line(wrong: str) -> None:
    with pytest.raises(UserError) as told:
        compose(Choice(), [wrong])
    assert wrong.partition("=")[0] in str(told.value)
    assert "\n" not in str(told.value)
