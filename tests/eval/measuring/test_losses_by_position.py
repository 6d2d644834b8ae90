"""Losses by position: against torch's own cross-entropy a position at a time, and bins by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eval.measuring.member import Asked, Context, record, scores_of
from eval.measuring.metrics import MOST_BINS, Scores, bin_width
from eval.measuring.planned import PlannedMember, Target
from eval.store.records import append, load
from models.encodings import build
from models.parameters import member_parameters
from models.positions import measured_positions
from models.spec import AccuracyMode, EncodingSpec, MemberSpec, ModelSpec, OptimSpec
from models.transformer import forward
from posgen.plain import plain
from posgen.spec import DataSpec, Task

TASK = Task(name="text", rule="text", modulus=256, far=0, near=1, h="none", corpus="anywhere", texts="0" * 64)
MODEL = ModelSpec(layers=2, d_model=32, heads=2, head_dim=16, d_ff=64, dropout=0.0)
DATA = DataSpec(train_length=8, test_length=24, train_size=4, validation_size=1, test_size=3)
ROPE = EncodingSpec("rope")


def member(bos: bool) -> MemberSpec:
    model = ModelSpec(**{**vars(MODEL), "bos": bos})
    return MemberSpec(TASK, DATA, ROPE, (ROPE,), model, OptimSpec(epochs=1, validate_every=1), 1)


@pytest.mark.parametrize("bos", [True, False])
def test_a_loss_by_position_is_the_cross_entropy_of_that_byte_after_those_before_it(bos: bool, tmp_path) -> None:
    """One pass for each prefix, whose last logits predict the next byte: no causal mask, no shift and no bins to trust.
    The record that is read back holds these means, and no accuracy by position."""
    spec = member(bos)
    encoding = build(ROPE, MODEL.head_dim)
    weights = member_parameters(spec.model, TASK.vocabulary, encoding, 5)
    tokens = torch.randint(0, 256, (3, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    params = {name: weight[None] for name, weight in weights.items()}
    expected = np.full(24, np.nan)
    for at in range(1, 24):
        prefix = tokens[None, :, :at].long()
        read = torch.cat([torch.full((1, 3, 1), TASK.bos), prefix], 2) if bos else prefix
        positions = measured_positions(
            [encoding], params, spec.model, read.shape[2], read.shape[2], torch.device("cpu")
        )
        with torch.no_grad():
            logits = forward(params, spec.model, read, positions)[0, :, -1]
        expected[at] = F.cross_entropy(logits.double(), tokens[:, at].long()).item()
    scores = scores_of(weights, spec, ROPE, Asked(tokens, None), AccuracyMode.teacher_forced, "cpu")
    np.testing.assert_allclose(scores.loss, expected, rtol=1e-5)

    config = {"task": plain(TASK), "data": plain(DATA), "model": plain(spec.model), "optim": plain(spec.optim)}
    planned = PlannedMember(spec, (Target("paper", "rope", "rope"),), config)
    made = record(
        planned, Context.here("s", "text", "cpu"), "rope", "rope", scores, encoding=ROPE, length=24,
        accuracy=AccuracyMode.teacher_forced, checkpoint_epoch=1, history=(), info={}, run_id=spec.run_id,
    )  # fmt: skip
    append(tmp_path / "records.jsonl", [made])
    (read_back,) = load(tmp_path / "records.jsonl")
    assert read_back == made
    assert read_back.accuracy_by_position is None
    assert read_back.loss_by_position is not None
    assert read_back.loss_by_position.width == 1
    assert read_back.loss_by_position.nats[0] is None
    kept = np.array(read_back.loss_by_position.nats[1:], dtype=float)
    np.testing.assert_allclose(kept, expected[1:], rtol=1e-5, atol=1e-6)
    assert read_back.id_loss == pytest.approx(expected[1:8].mean(), rel=1e-5)
    assert read_back.ood_loss == pytest.approx(expected[8:].mean(), rel=1e-5)


def test_bins_by_hand() -> None:
    scores = Scores(np.zeros(7), np.array([np.nan, 1.0, 2.0, 4.0, 8.0, 6.0, 5.0]))
    assert scores.binned_loss(2) == [1.0, 3.0, 7.0, 5.0]
    assert scores.binned_loss(4) == [7 / 3, 19 / 3]
    broken = Scores(np.zeros(4), np.array([np.nan, 1.0, np.inf, 2.0]))
    assert broken.binned_loss(2) == [1.0, None]


@pytest.mark.parametrize(
    ("train_length", "length", "width"),
    [(256, 4096, 32), (128, 1024, 8), (16, 64, 1), (257, 4096, 257), (96, 4096, 32)],
)
def test_bins_divide_the_training_length_and_are_few(train_length: int, length: int, width: int) -> None:
    assert bin_width(train_length, length) == width
    assert train_length % width == 0
    assert -(-length // width) <= MOST_BINS
