"""Encodings against numbers of the released code (sheryc/resonance_rope@4a7f5a7) and of transformers 5.23."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from models.encodings import build_rotary as build
from models.encodings.rotary import resonance_wavelengths
from models.encodings.scalings.yarn import YaRN
from models.spec import EncodingSpec
from tests.committed import ROOT

GOLDEN = ROOT / "tests" / "golden"
RELEASED = json.loads((GOLDEN / "encodings_released_code.json").read_text())["cases"]
TRANSFORMERS = json.loads((GOLDEN / "encodings_transformers.json").read_text())["cases"]
SCALING_OF_CLASS = {"": "none", "LinearScaled": "pi", "NTKScaled": "ntk", "YaRNScaled": "yarn"}
SCALING_OF_ROPE_TYPE = {
    "default": "none", "linear": "pi", "dynamic": "dynamic_ntk", "yarn": "yarn", "longrope": "longrope",
    "llama3": "llama3",
}  # fmt: skip
OWN_KEYS = {"longrope": ("short_factor", "long_factor"), "llama3": ("low_freq_factor", "high_freq_factor")}


def released_spec(case: dict) -> EncodingSpec:
    kind = case["class"].removesuffix("RotaryEmbedding")
    resonance = kind.startswith("Resonance")
    scaling = SCALING_OF_CLASS[kind.removeprefix("Resonance")]
    params: dict = {}
    if scaling != "none":
        params["factor"] = case["scaling_factor"]
    if scaling == "yarn":
        params |= {"ramp_length": case["max_position_embeddings"], "beta_fast": case["beta_fast"], "beta_slow": 1}
    return EncodingSpec("case", scaling, resonance, case["base"], params)


def transformers_spec(case: dict) -> EncodingSpec:
    scaling = SCALING_OF_ROPE_TYPE[case["rope_type"]]
    params: dict = {"factor": case["factor"]} if scaling != "none" else {}
    given = case["rope_parameters"]
    if scaling == "yarn":  # transformers' defaults for a YaRN that does not say otherwise
        params |= {"ramp_length": case["L"], "beta_fast": 32, "beta_slow": 1}
    if scaling == "dynamic_ntk":
        params["train_length"] = case["L"]
    if scaling in ("longrope", "llama3"):
        params["train_length"] = given["original_max_position_embeddings"]
        params |= {key: given[key] for key in OWN_KEYS[scaling]}
    return EncodingSpec("case", scaling, False, case["base"], params)


def case_id(case: dict) -> str:
    return "-".join(str(case.get(k, "")) for k in ("class", "wiring", "rope_type", "seq_len") if case.get(k))


def check_tables(encoding, length: int, positions: list[int], cos: list, sin: list) -> None:
    ours_cos, ours_sin = encoding.tables(length)
    np.testing.assert_allclose(ours_cos[positions].numpy(), np.array(cos), rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours_sin[positions].numpy(), np.array(sin), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", RELEASED, ids=case_id)
def test_released_code(case: dict) -> None:
    encoding = build(released_spec(case), case["dim"])
    inv_freq, attention_factor = encoding.frequencies(1024)
    if encoding.resonance:
        golden = case["r_inv_freq"]
        plain = encoding.scaling.inv_freq(case["dim"], case["base"], 1024)
        assert resonance_wavelengths(plain).tolist() == case["r_wavelengths"]
    elif "Linear" in case["class"]:
        golden = (np.array(case["inv_freq"]) / case["scaling_factor"]).tolist()  # the code divides positions instead
    else:
        golden = case["inv_freq"]
    np.testing.assert_allclose(inv_freq.double().numpy(), golden, rtol=1e-6)
    assert attention_factor == pytest.approx(case["attention_factor"], rel=1e-6)
    if "correction_range" in case:
        assert isinstance(encoding.scaling, YaRN)
        assert list(encoding.scaling.correction_range(case["dim"], case["base"])) == case["correction_range"]
    full = next(s for s in case["samples"] if "cos" in s)
    for sample in case["samples"]:  # the shorter sample is a prefix of the longer one
        rows = [full["positions"].index(p) for p in sample["positions"]]
        cos, sin = [full["cos"][r] for r in rows], [full["sin"][r] for r in rows]
        check_tables(encoding, sample["length"], sample["positions"], cos, sin)


@pytest.mark.parametrize("case", TRANSFORMERS, ids=case_id)
def test_transformers(case: dict) -> None:
    encoding = build(transformers_spec(case), case["dim"])
    inv_freq, attention_factor = encoding.frequencies(case["seq_len"])
    np.testing.assert_allclose(inv_freq.double().numpy(), case["inv_freq"], rtol=1e-6)
    assert attention_factor == pytest.approx(case["attention_factor"], rel=1e-6)
    check_tables(encoding, case["seq_len"], case["positions"], case["cos"], case["sin"])


def test_sums_over_the_whole_table() -> None:
    """Positions that the golden files do not list are covered by their sums over all positions and features."""
    for case in RELEASED:
        for sample in case["samples"]:
            cos, sin = build(released_spec(case), case["dim"]).tables(sample["length"])
            assert cos.double().sum().item() == pytest.approx(sample["cos_sum_f64"], abs=0.02), case["class"]
            assert sin.double().sum().item() == pytest.approx(sample["sin_sum_f64"], abs=0.02), case["class"]
    for case in TRANSFORMERS:
        cos, sin = build(transformers_spec(case), case["dim"]).tables(case["seq_len"])
        assert cos.double().sum().item() == pytest.approx(case["cos_sum_f64"], abs=0.02), case["rope_type"]
        assert sin.double().sum().item() == pytest.approx(case["sin_sum_f64"], abs=0.02), case["rope_type"]


def test_tables_are_float32() -> None:
    assert build(EncodingSpec(), 64).tables(8)[0].dtype == torch.float32
