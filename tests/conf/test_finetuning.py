"""Recipes of fine-tuning: the paper's numbers, and what is refused."""

from __future__ import annotations

import pytest

from conf.finetuning import names, recipe
from posgen.errors import UserError


def test_the_papers_recipe() -> None:
    """Appendix C.2: about 100M tokens at batch 64, AdamW 2e-5, weight decay 1e-2, betas 0.9 and 0.95, warm-up 5 %."""
    paper = recipe("paper")
    assert (paper.steps, paper.batch, paper.length, paper.tokens) == (50, 64, 32_768, 104_857_600)
    assert (paper.lr, paper.weight_decay, paper.beta1, paper.beta2, paper.warmup) == (2e-5, 0.01, 0.9, 0.95, 0.05)
    assert (paper.precision, paper.schedule) == ("bf16", "linear")
    assert paper.label == "the paper's recipe (Appendix C.2), 100 % of the paper's tokens"
    for row in (["length=16384", "steps=100"], ["length=4096", "steps=400"]):
        assert recipe("paper", row).tokens == paper.tokens


def test_short_adaptation_is_named_so() -> None:
    short = recipe("short")
    assert short.tokens == 100 * 2048
    assert short.label == "short adaptation, 0.195 % of the paper's tokens"
    changed = recipe("short", ["steps=200"])
    assert changed.label == "short adaptation with steps=200, 0.391 % of the paper's tokens"
    assert changed.digest != short.digest
    assert recipe("extended").label == "adaptation at the extended length, 6.25 % of the paper's tokens"
    assert set(names()) == {"paper", "short", "extended"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["lenght=5"], r"lenght=5: did you mean length\?"),
        (["lr=fast"], "lr=fast: should be a number"),
        (["lr=1e-4,1e-3"], "lr=1e-4,1e-3: give one value"),
        (["steps=2.5"], "steps=2.5: should be a whole number"),
        (["steps=0"], "steps=0: use at least 1"),
        (["batch=3", "micro_batch=2"], "batch=3: use a multiple of micro_batch=2"),
        (["block=100"], "block=100: use at least length=2048, or null"),
        (["precision=fp16"], r"precision=fp16: did you mean bf16|fp32\?"),
        (["title=mine"], "title=mine: one of base_precision, "),
        (["lr=1e-4", "lr=1e-3"], "lr is given twice"),
        (["+lr=1"], "keys are neither added nor deleted"),
    ],
)
def test_what_is_refused(settings: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        recipe("short", settings)


def test_an_unknown_recipe() -> None:
    with pytest.raises(UserError, match=r"recipe=papre: did you mean paper\?"):
        recipe("papre")
