"""The decoder against the released model (sheryc/resonance_rope@4a7f5a7): logits, losses and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.encodings import PositionInputs
from models.encodings import build_rotary as build
from models.parameters import from_t5
from models.spec import EncodingSpec, ModelSpec
from models.transformer import forward
from tests.committed import ROOT

GOLDEN = np.load(ROOT / "tests" / "golden" / "model_released_code.npz")
MODEL = ModelSpec(layers=2, d_model=64, heads=2, head_dim=16, d_ff=128, dropout=0.0)
ENCODINGS = {"rotary_hf": EncodingSpec("rope"), "rotary_resonance": EncodingSpec("resonance_rope", resonance=True)}


def member() -> dict[str, torch.Tensor]:
    weights = {k.removeprefix("weight/"): torch.from_numpy(GOLDEN[k]) for k in GOLDEN.files if k.startswith("weight/")}
    return from_t5(weights, MODEL.layers)


def population(size: int) -> dict[str, torch.Tensor]:
    """The released weights as the last of `size` members; the others are noise of the same shapes."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.stack([torch.randn(weight.shape, generator=generator)] * (size - 1) + [weight])
        for name, weight in member().items()
    }


def run(encoding: str, params: dict[str, torch.Tensor], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all positions and the mean loss over the generated tokens, for every member."""
    size = params["embedding"].shape[0]
    inputs = torch.from_numpy(GOLDEN[f"input_ids_{length}"]).expand(size, -1, -1)
    labels = torch.from_numpy(GOLDEN[f"labels_{length}"])
    cos, sin = (t.expand(size, -1, -1) for t in build(ENCODINGS[encoding], MODEL.head_dim).tables(length))
    logits = forward(params, MODEL, inputs, PositionInputs((cos, sin)))
    losses = [F.cross_entropy(m[:, :-1].reshape(-1, m.shape[-1]), labels[:, 1:].reshape(-1)) for m in logits]
    return logits, torch.stack(losses)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("length", [65, 257])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_logits_and_loss(encoding: str, length: int, size: int) -> None:
    logits, losses = run(encoding, population(size), length)
    np.testing.assert_allclose(logits[-1].numpy(), GOLDEN[f"{encoding}/eval_logits_{length}"], rtol=0, atol=1e-5)
    assert losses[-1].item() == pytest.approx(float(GOLDEN[f"{encoding}/eval_loss_{length}"]), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gradients(encoding: str, size: int) -> None:
    params = {name: weight.requires_grad_() for name, weight in population(size).items()}
    _, losses = run(encoding, params, 65)
    losses.sum().backward()
    grads = {
        k.split("/grad/")[1]: torch.from_numpy(GOLDEN[k]) for k in GOLDEN.files if k.startswith(f"{encoding}/grad/")
    }
    # The released code freezes its feed-forward layers (ledger row 7), so it has no gradient for them.
    ffn = {k.removeprefix("weight/"): torch.zeros(1, 1) for k in GOLDEN.files if ".layer.1." in k}
    expected = {k: v for k, v in from_t5({**ffn, **grads}, MODEL.layers).items() if ".ffn." not in k}
    assert len(expected) == 8
    for name, golden in expected.items():
        grad = params[name].grad
        assert grad is not None
        ours = grad[-1]
        assert ((ours - golden).norm() / golden.norm()).item() < 1e-4, name
        np.testing.assert_allclose(ours.numpy(), golden.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)
