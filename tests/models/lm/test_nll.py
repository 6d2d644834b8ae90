"""Losses of tokens in chunks, against the model's own logits and torch's cross-entropy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.lm.nll import chunked_losses, logits_of, token_nll
from posgen.errors import UserError
from tests.models.tiny_language_models import GROUPED, HEADS, sentence

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Gemma2": {**HEADS, "final_logit_softcapping": 0.5},
    "Granite": {**GROUPED, "logits_scaling": 3.0},
    "Cohere": {**GROUPED, "logit_scale": 0.25},
}


def made(name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**ARCHITECTURES[name])
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # so that a softcap and a scale matter
            weight.mul_(4.0 if weight.dim() > 1 else 1.0)
    return model


def own(model: Any, ids: Tensor) -> Tensor:
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_and_gradients_equal_the_models_own(name: str) -> None:
    model = made(name)
    ids = torch.cat([sentence(24), sentence(24).flip(1)])
    wanted = own(model, ids)
    wanted.mean().backward()
    gradients = {key: weight.grad.clone() for key, weight in model.named_parameters()}
    for chunk in (1, 7, 23, 1000):
        for checkpointed in (False, True):
            model.zero_grad()
            losses = chunked_losses(model, ids, chunk, checkpointed)
            torch.testing.assert_close(losses, wanted, rtol=1e-5, atol=1e-6)
            losses.mean().backward()
            for key, weight in model.named_parameters():
                torch.testing.assert_close(weight.grad, gradients[key], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.from_numpy(token_nll(model, ids[0], 5)), wanted[0].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "key"), [("Gemma2", "final_logit_softcapping"), ("Granite", "logits_scaling"),
                                           ("Cohere", "logit_scale")])  # fmt: skip
def test_softcap_and_scale_are_in_the_logits(name: str, key: str) -> None:
    model = made(name)
    hidden = model.base_model(sentence(9), use_cache=False).last_hidden_state
    plain, value = model.lm_head(hidden), ARCHITECTURES[name][key]
    by_hand = {"Gemma2": value * torch.tanh(plain / value), "Granite": plain / value, "Cohere": plain * value}[name]
    torch.testing.assert_close(logits_of(model, hidden), by_hand, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(by_hand, plain, atol=1e-3)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    model = made("Llama")
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(UserError, match="loss at token 1 is not finite"):
        token_nll(model, sentence(9)[0])
    assert "forward" not in vars(model.base_model)  # the trunk computes again
