"""Whole wavelengths at positions to a million, against whole-number arithmetic; how far the naive product drifts."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from models.encodings import Rotary, build_rotary
from models.spec import EncodingSpec

MILLION = 10**6
SPECS = {
    "rope": EncodingSpec("r", resonance=True),
    "long_base": EncodingSpec("r", resonance=True, base=500_000.0),
    "yarn": EncodingSpec("r", "yarn", True, params={"factor": 4.0, "ramp_length": 64}),
    "llama3": EncodingSpec("r", "llama3", True, 500_000.0, {"factor": 8.0, "train_length": 8192}),
    "p_rope": EncodingSpec("r", "p_rope", True),
}


def positions() -> torch.Tensor:
    """The first, the last, and some drawn at random from 0..10^6."""
    drawn = np.random.default_rng(7).integers(0, MILLION, 300)
    return torch.from_numpy(np.concatenate([np.arange(40), drawn, np.arange(MILLION - 40, MILLION + 1)]))


def exact_turn(t: int, wavelength: float) -> Fraction:
    """The part of a turn that feature and position stand at: (t mod w) / w, as a fraction of whole numbers."""
    return Fraction(0) if math.isinf(wavelength) else Fraction(t % int(wavelength), int(wavelength))


def exact_cos_sin(turn: Fraction) -> tuple[float, float]:
    """Reduced to an eighth of a turn before it meets a floating point number."""
    eighth, rest = divmod(turn * 8, 1)
    near = rest if eighth % 2 == 0 else 1 - rest  # from the nearer axis, in eighths
    angle = math.pi * float(near) / 4
    c, s = math.cos(angle), math.sin(angle)
    return [(c, s), (s, c), (-s, c), (-c, s), (-c, -s), (-s, -c), (s, -c), (c, -s)][int(eighth)]


def wavelengths(encoding: Rotary) -> list[float]:
    """Recovered from the frequencies as whole numbers."""
    found = 2 * math.pi / encoding.frequencies(MILLION)[0].double()
    return [w if math.isinf(w) else float(round(w)) for w in found.tolist()]


def test_the_oracle_knows_the_circle() -> None:
    for k in range(48):
        c, s = exact_cos_sin(Fraction(k, 48))
        assert c == pytest.approx(math.cos(2 * math.pi * k / 48), abs=1e-15)
        assert s == pytest.approx(math.sin(2 * math.pi * k / 48), abs=1e-15)


@pytest.mark.parametrize("name", SPECS)
def test_whole_wavelengths_are_exact_to_a_million(name: str) -> None:
    encoding = build_rotary(SPECS[name], 64)
    at = positions()
    turns = [[exact_turn(t, w) for w in wavelengths(encoding)] for t in at.tolist()]
    golden = np.array([[exact_cos_sin(turn) for turn in row] for row in turns])  # (T, d/2, 2)
    angles = encoding.angles(at, MILLION)
    assert angles.dtype == torch.float64
    np.testing.assert_allclose(angles.cos().numpy(), golden[..., 0], rtol=0, atol=2e-15)
    np.testing.assert_allclose(angles.sin().numpy(), golden[..., 1], rtol=0, atol=2e-15)
    # The table is that, rounded once to float32: within half of its last place, and a trifle.
    factor = encoding.frequencies(MILLION)[1]
    for found, exact in zip(encoding.rotation(at, MILLION), (golden[..., 0], golden[..., 1]), strict=True):
        assert found.dtype == torch.float32
        exact = exact * factor
        half = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64) / 2
        assert (np.abs(found.double().numpy() - exact) <= half + 4e-15).all()


@pytest.mark.parametrize("name", SPECS)
def test_a_table_row_comes_back_after_a_wavelength_bit_for_bit(name: str) -> None:
    encoding = build_rotary(SPECS[name], 64)
    for j, wavelength in enumerate(wavelengths(encoding)):
        if wavelength > MILLION:
            continue
        first = torch.arange(0, int(wavelength), max(1, int(wavelength) // 20))
        last = first + int(wavelength) * ((MILLION - int(wavelength)) // int(wavelength))
        for before, after in zip(encoding.rotation(first, MILLION), encoding.rotation(last, MILLION), strict=True):
            assert torch.equal(before[:, j], after[:, j])


def drift(encoding: Rotary, top: int) -> float:
    """The farthest that the field's product t * theta in float32 takes a cosine from the exact one, below `top`."""
    at = torch.arange(top - 1000, top)
    naive = (at.float()[:, None] * encoding.frequencies(top)[0]).double()
    exact = [[exact_cos_sin(exact_turn(t, w))[0] for w in wavelengths(encoding)] for t in at.tolist()]
    return float((naive.cos() - torch.tensor(exact, dtype=torch.float64)).abs().max())


def test_the_naive_product_drifts() -> None:
    """By up to 9e-5 at 1,024 tokens, and about in proportion above it."""
    encoding = build_rotary(SPECS["rope"], 64)
    found = {top: drift(encoding, top) for top in (1024, 10_000, 100_000, MILLION)}
    assert 1e-6 < found[1024] <= 9.5e-5
    assert found[1024] < found[10_000] < found[100_000] < found[MILLION]
    assert found[MILLION] > 0.01


def test_in_half_precision_the_wavelengths_would_be_gone() -> None:
    """Why tables are never lower than float32: in bfloat16 a frequency's wavelength is off by more than a token."""
    inv_freq, _ = build_rotary(SPECS["rope"], 64).frequencies(64)
    off = (2 * math.pi / inv_freq.bfloat16().double() - 2 * math.pi / inv_freq.double()).abs()
    assert float(off.max()) > 1.0
    for spec in SPECS.values():
        assert {table.dtype for table in build_rotary(spec, 64).tables(16)} == {torch.float32}
