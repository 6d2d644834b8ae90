"""Resonance in parts against Resonance and RoPE, bit for bit, and against every candidate; bf16 and fp16 tables against
rounding by hand."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
import torch

from models.encodings import Rotary, build_rotary
from models.spec import EncodingSpec
from posgen.errors import BadValue
from tests.models.test_theory import gaps

YARN = {"factor": 4.0, "ramp_length": 64, "beta_fast": 1.0, "beta_slow": 0.25}


def rotary(kind: str = "rotary", scaling: str = "none", resonance: bool = False, **params: Any) -> Rotary:
    return build_rotary(EncodingSpec("x", scaling, resonance, 10_000.0, params, kind), 64)


@pytest.mark.parametrize("length", [65, 257, 4096])
@pytest.mark.parametrize("scaling", ["none", "yarn"])
@pytest.mark.parametrize("rounds", ["all", "pre_critical", "post_critical"])
def test_each_feature_is_that_of_resonance_or_without_it(rounds: str, scaling: str, length: int) -> None:
    of: dict[str, Any] = YARN if scaling == "yarn" else {}
    parts = rotary("rounded", scaling, rounds=rounds, critical=64, **of)
    plain, resonant = rotary(scaling=scaling, **of), rotary(scaling=scaling, resonance=True, **of)
    before = 2 * math.pi / plain.frequencies(length)[0] < 64
    rounded = {"all": before | True, "pre_critical": before, "post_critical": ~before}[rounds]
    for ours, with_it, without in zip(parts.tables(length), resonant.tables(length), plain.tables(length), strict=True):
        assert torch.equal(ours, torch.where(rounded, with_it, without))
    assert torch.equal(
        parts.frequencies(length)[0],
        torch.where(rounded, resonant.frequencies(length)[0], plain.frequencies(length)[0]),
    )


@pytest.mark.parametrize(
    ("unit", "offset"), [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0), (1.0, 0.382), (1.0, 0.5), (64.0, 0.0)]
)
def test_wavelengths_are_the_nearest_of_the_grid(unit: float, offset: float) -> None:
    found = rotary("rounded", rounds="all", unit=unit, offset=offset).wavelengths(256).tolist()
    for j, wavelength in enumerate(found):
        plain = 2 * math.pi * 10_000 ** (j / 32)
        near = range(max(0 if offset else 1, int(plain / unit) - 2), int(plain / unit) + 3)
        best = min(abs(unit * (k + offset) - plain) for k in near)
        assert abs(wavelength - plain) == pytest.approx(best, rel=1e-5, abs=1e-2 if j > 24 else 1e-5)


@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0)])
def test_any_whole_wavelength_closes_the_gap(unit: float, offset: float) -> None:
    """Theorem 1 needs whole numbers of tokens below the training length, not the nearest ones."""
    encoding = rotary("rounded", unit=unit, offset=offset)
    assert max(gaps(encoding, 64, 1024)[:9]) == 0.0
    assert max(gaps(rotary(), 64, 1024)[:9]) > 0.05


def test_the_control_moves_wavelengths_as_far_and_leaves_a_gap() -> None:
    control, plain = rotary("rounded", offset=0.382), rotary()
    moved = (control.wavelengths(256) - plain.wavelengths(256)).abs()
    assert 0.1 < float(moved[:9].max()) <= 0.5
    assert float(moved[9:].max()) == 0.0
    assert min(gaps(control, 64, 1024)[:9]) > 0.01


def test_what_does_not_rotate_is_not_rounded() -> None:
    clipped = rotary("rounded", "clip", rounds="all", shape="hard")
    assert torch.equal(clipped.tables(300)[0], rotary(scaling="clip", resonance=True, shape="hard").tables(300)[0])


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"unit": 0.0}, "unit"),
        ({"offset": 1.0}, "offset"),
        ({"rounds": "some"}, "rounds"),
        ({"critical": 0}, "critical"),
    ],
)
def test_what_is_refused(params: dict[str, Any], named: str) -> None:
    with pytest.raises(BadValue) as error:
        rotary("rounded", **params)
    assert error.value.key.endswith(named)


def test_rounded_says_itself_what_is_rounded() -> None:
    with pytest.raises(BadValue, match="resonance"):
        rotary("rounded", resonance=True)


def bf16(value: float) -> float:
    """The nearest number with 8 significant bits, ties to even, by its bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    bits += 0x7FFF + (bits >> 16 & 1)
    (rounded,) = struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))
    return float(rounded)


def fp16(value: float) -> float:
    return float(np.float16(np.float32(value)))


@pytest.mark.parametrize("resonance", [False, True])
@pytest.mark.parametrize("form", ["bf16", "fp16"])
def test_angles_are_rounded_at_every_step(form: str, resonance: bool) -> None:
    by_hand = {"bf16": bf16, "fp16": fp16}[form]
    plain = rotary(resonance=resonance)
    cos, sin = rotary("narrow", resonance=resonance, format=form).tables(3000)
    theta = plain.frequencies(3000)[0].tolist()
    whole = [round(w) for w in plain.wavelengths(3000).tolist()]
    for position in [0, 1, 63, 200, 255, 256, 257, 258, 1023, 2049, 2999]:
        for j in (0, 1, 5, 8, 9, 31):
            step = position % whole[j] if resonance else position
            angle = by_hand(by_hand(step) * by_hand(theta[j]))
            assert float(cos[position, j]) == by_hand(math.cos(angle)), (position, j)
            assert float(sin[position, j]) == by_hand(math.sin(angle)), (position, j)


def test_in_bf16_positions_collide_and_resonance_repeats() -> None:
    """Above 256 bf16 knows even numbers alone; a period that is looked up below that repeats to the last bit."""
    plain, _ = rotary("narrow").tables(600)
    assert torch.equal(plain[300], plain[301]) or torch.equal(plain[301], plain[302])
    encoding = rotary("narrow", resonance=True)
    cos, sin = encoding.tables(4096)
    assert float(cos[300, 0]) != float(cos[301, 0])
    for j, wavelength in enumerate(encoding.wavelengths(4096).tolist()[:9]):
        period = round(wavelength)
        for table in (cos, sin):
            assert torch.equal(table[period:, j], table[:-period, j])
    assert max(gaps(encoding, 64, 1024)[:9]) == 0.0


def test_cast_tables_are_those_of_fp32_rounded_once() -> None:
    for ours, exact in zip(rotary("narrow", narrowed="tables").tables(4096), rotary().tables(4096), strict=True):
        assert torch.equal(ours, exact.bfloat16().float())
