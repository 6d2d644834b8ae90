"""The files of conf/pe that name a scaling: each has one with and without Resonance, and what their lengths come to."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from conf.compose import Choice, compose, composer
from conf.overrides import choices
from models.encodings import Rotary, build_rotary, scaling_names


def built(pe: str, protocol: str, *overrides: str) -> Rotary:
    config = compose(Choice(pe=pe, protocol=protocol), overrides)
    return build_rotary(config.pe, config.model.head_dim)


def test_every_scaling_can_be_named_with_and_without_resonance() -> None:
    for scaling in scaling_names():
        name = "rope" if scaling == "none" else scaling
        assert {name, f"resonance_{name}"} <= set(choices("pe"))


@pytest.mark.parametrize("pe", ["longrope", "resonance_longrope"])
@pytest.mark.parametrize("protocol", ["paper", "released", "zero_shot"])
@pytest.mark.parametrize("bos", [True, False])
def test_longrope_trains_with_its_short_factors(pe: str, protocol: str, bos: bool) -> None:
    """A training sequence has L tokens and BOS; from the next token on the factors are the long ones."""
    found = built(pe, protocol, f"protocol.bos={str(bos).lower()}")
    plain = built(pe.replace("longrope", "rope"), protocol)
    trained = 64 + int(bos)
    assert torch.equal(found.frequencies(trained)[0], plain.frequencies(trained)[0])
    assert not torch.equal(found.frequencies(trained + 1)[0], plain.frequencies(trained + 1)[0])


@pytest.mark.parametrize("protocol", ["paper", "released", "zero_shot"])
@pytest.mark.parametrize("ramp", ["index", "wavelength"])
def test_ntk_by_parts_is_yarn_without_its_attention_factor(protocol: str, ramp: str) -> None:
    """Peng et al. 2023: YaRN is NTK-by-parts and the attention factor."""
    parts, yarn = (built(pe, protocol, f"protocol.yarn_ramp={ramp}") for pe in ("ntk_by_parts", "yarn"))
    assert torch.equal(parts.frequencies(257)[0], yarn.frequencies(257)[0])
    assert parts.frequencies(257)[1] == 1.0 < yarn.frequencies(257)[1]


def test_truncation_of_yarn_can_be_turned_off() -> None:
    whole, between = built("yarn", "paper"), built("yarn", "paper", "pe.params.truncate=false")
    assert not torch.equal(whole.frequencies(257)[0], between.frequencies(257)[0])


# L = 64, L' = 256: s, the length of YaRN's ramp, Llama 3's L, and the positions of dynamic NTK and LongRoPE and of
# `learned`. Only the code counts a BOS among a scaling's lengths, and only where there is one; positions are counted
# with it always.
LENGTHS = {
    ("text", True): (4.0, 64, 64, 65, 257),
    ("text", False): (4.0, 64, 64, 64, 256),
    ("code", True): (257 / 65, 257, 65, 65, 257),
    ("code", False): (4.0, 256, 64, 64, 256),
}


@pytest.mark.parametrize(("lengths", "bos"), LENGTHS)
@pytest.mark.parametrize("switch", ["protocol", "model"])
def test_a_bos_is_counted_where_there_is_one(lengths: str, bos: bool, switch: str) -> None:
    settings = [f"protocol.scaling_lengths={lengths}", f"{switch}.bos={str(bos).lower()}"]
    with composer() as make:
        params = {pe: make(Choice(pe=pe, protocol="paper"), settings).pe.params for pe in choices("pe")}
    factor, ramp, llama, trained, tested = LENGTHS[lengths, bos]
    scaled = {pe for pe in params if "factor" in params[pe] and not pe.endswith("p_rope")}
    assert len(scaled) >= 14
    assert {pe: params[pe]["factor"] for pe in scaled} == dict.fromkeys(scaled, factor)
    for form in ("", "resonance_"):
        assert params[f"{form}yarn"]["ramp_length"] == params[f"{form}ntk_by_parts"]["ramp_length"] == ramp
        assert params[f"{form}llama3"]["train_length"] == llama
        assert params[f"{form}dynamic_ntk"]["train_length"] == params[f"{form}longrope"]["train_length"] == trained
    assert params["learned"]["max_length"] == tested


def test_a_resonance_form_is_its_plain_one_with_resonance() -> None:
    with composer() as make:
        for pe in choices("pe"):
            for protocol in ("paper", "released"):
                if not pe.startswith("resonance_"):
                    continue
                plain, form = (
                    make(Choice(pe=name, protocol=protocol), ()).pe for name in (pe[len("resonance_") :], pe)
                )
                assert dataclasses.replace(plain, name=pe, resonance=True) == form
