"""Preset released does what the released code does: what it freezes, how deep it is, what it tests on and chooses."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from conf.compose import Choice, compose
from conf.schema import Config
from eval.running.plan import plan
from models.parameters import frozen, parameter_count, shapes
from models.spec import plain
from posgen.splits import draw
from tests.committed import ROOT


def released(pe: str, *overrides: str) -> Config:
    return compose(Choice("cot", pe, "released", "paper"), overrides)


def test_released_freezes_what_the_code_freezes() -> None:
    """The released model's own gradients (tests/golden): its feed-forward layers, their norms included, have none."""
    golden = np.load(ROOT / "tests" / "golden" / "model_released_code.npz").files
    weights = {name.removeprefix("weight/") for name in golden if name.startswith("weight/")}
    moved = {name.partition("/grad/")[2] for name in golden if name.startswith("rotary_hf/grad/")}
    still = {name.split(".")[2] for name in weights - moved if ".layer.1." in name}
    assert all(".layer.1." in name for name in weights - moved)
    assert still == {"0", "1"}  # both layers
    model = released("rope", "protocol.layers=2").model
    ours = {name for name in shapes(model, 22) if frozen(name, model)}
    assert ours == {f"layers.{layer}.ffn.{part}" for layer in still for part in ("norm", "wi", "wo")}
    assert len(ours) == len(weights - moved)


@pytest.mark.parametrize(("layers", "trained", "all_weights"), [(2, 2_109_952, 6_305_280), (6, 6_306_304, 18_892_288)])
def test_how_much_of_the_released_model_trains(layers: int, trained: int, all_weights: int) -> None:
    """By hand: embedding 22 x 512, final norm 512; a layer 4 x 512 x 512 + 512 that trains, 2 x 512 x 2048 + 512 that
    does not. Two layers: 2.11M of 6.31M, as the ledger says."""
    config = released("rope", f"protocol.layers={layers}")
    assert released("rope").model.layers == 6
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(config.model, config.task.vocabulary).items()}
    assert sum(size for name, size in sizes.items() if not frozen(name, config.model)) == trained
    assert parameter_count(config.model, config.task.vocabulary) == all_weights
    assert trained == 22 * 512 + 512 + layers * (4 * 512 * 512 + 512)


def test_released_tests_on_what_it_trained_on_and_chooses_as_the_code_does() -> None:
    config = released("yarn")
    rows = draw(config.task, config.data)
    table = np.array(list(combinations(range(17), 4)))
    assert len(table) == 2380
    assert np.array_equal(rows["train"], table[np.arange(10_000) % 2380])
    assert np.array_equal(rows["validation"], table[:1000])
    assert np.array_equal(rows["test"], table[1000:2000])
    (member,) = plan(["cot"], ["yarn"], [1], ["released"], "paper")
    assert plain(member.spec)["selection"] == "first_best_id"
    assert member.spec.train_encoding.name == "rope"
    assert member.spec.test_encodings[0].params["ramp_length"] == 257
    assert (member.spec.model.layers, member.spec.optim.epochs) == (6, 150)
