"""Training on hidden and interleaved answers: the loss against a plain decoder, and mixed populations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.encodings import build_rotary
from models.plain import PlainDecoder
from models.population import Population, population_key
from models.spec import EncodingSpec, MemberSpec, ModelSpec, OptimSpec
from posgen.answers import labels, scored
from posgen.generate import generate
from posgen.spec import Answers, DataSpec, Task

MODEL = ModelSpec(layers=2, d_model=32, heads=2, head_dim=16, d_ff=64, dropout=0.0)
DATA = DataSpec(train_length=20, test_length=32, train_size=32, validation_size=8, test_size=8)
OPTIM = OptimSpec(epochs=2, batch_size=16, lr=2e-3, validate_every=1)
ROPE = EncodingSpec("rope")
COT = Task("cot", "cot", 7)
HIDDEN = Task("mine", "cot", 7, near=1, gap=2, answers=Answers.hidden)
COPY = replace(HIDDEN, rule="recursive", near=0, gap=3)
STREAM = replace(HIDDEN, rule="semi_recursive", answers=Answers.interleaved)


def member(task: Task, seed: int = 1, bos: bool = True) -> MemberSpec:
    return MemberSpec(task, DATA, ROPE, (ROPE,), replace(MODEL, bos=bos), OPTIM, seed)


def sequences(task: Task) -> tuple[Tensor, Tensor]:
    start = np.random.default_rng(0).integers(0, 7, (DATA.train_size, task.drawn_length)).astype(np.uint8)
    tokens = generate(task, start, DATA.train_length)
    held = torch.from_numpy(tokens)
    return held, held if task.answers is Answers.fed_back else torch.from_numpy(labels(task, tokens))


def population(*specs: MemberSpec) -> Population:
    of_task = {spec.task: sequences(spec.task) for spec in specs}
    pairs = [of_task[spec.task] for spec in specs]
    return Population(specs, [tokens for tokens, _ in pairs], answers=[right for _, right in pairs])


def losses(one: Population, steps: int = 4) -> Tensor:
    found = []
    for step in range(steps):
        at = divmod(step, 2)
        found.append(one.step(one.batch(*at), one.batches.answers(*at)).loss)
    return torch.stack(found)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("task", [COT, HIDDEN, COPY, STREAM], ids=["fed_back", "hidden", "copy", "interleaved"])
def test_loss_and_accuracy_are_those_of_the_answers_alone(task: Task, bos: bool) -> None:
    spec = member(task, bos=bos)
    one = population(spec)
    decoder = PlainDecoder(task.vocabulary, 2, 32, 2, 16, 64)
    decoder.take({name: weight[0] for name, weight in one.params.items()})
    encoding = build_rotary(ROPE, 16)
    tokens, right = one.batch(0, 0)[0], one.batches.answers(0, 0)
    right = tokens if right is None else right[0]
    nats, hits = [], []
    for position in np.flatnonzero(scored(task, DATA.train_length)):
        seen = tokens[:, :position]  # never the token at the position, nor any label
        read = torch.cat([torch.full((len(tokens), 1), task.bos), seen], 1) if bos else seen
        angles = encoding.angles(encoding.positions(read.shape[1]), read.shape[1])
        with torch.no_grad():
            logits = decoder(read, angles)[:, -1]
        nats.append(F.cross_entropy(logits, right[:, position]).item())
        hits.append((logits.argmax(-1) == right[:, position]).float().mean().item())
    result = one.step(tokens[None], right[None])
    assert result.loss.item() == pytest.approx(np.mean(nats), rel=1e-5)
    assert result.accuracy.item() == pytest.approx(np.mean(hits), abs=1e-6)


def test_members_of_both_kinds_train_side_by_side_as_if_alone() -> None:
    specs = [member(COT, 1), member(HIDDEN, 1), member(COPY, 2), member(HIDDEN, 3)]
    assert len({population_key(spec) for spec in specs}) == 1
    together = losses(population(*specs))
    for place, spec in enumerate(specs):
        torch.testing.assert_close(together[:, place], losses(population(spec))[:, 0], rtol=2e-5, atol=1e-6)
    one = population(*specs)
    one.keep([1, 3])
    torch.testing.assert_close(losses(one), together[:, [1, 3]], rtol=2e-5, atol=1e-6)


def test_interleaved_answers_are_a_population_of_their_own() -> None:
    like = replace(HIDDEN, gap=6)  # the same tokens in all before the first answer
    assert like.prefix_length == STREAM.prefix_length == 8
    assert member(like).shape_key != member(STREAM).shape_key
    with pytest.raises(ValueError, match="equal shapes"):
        population(member(like), member(STREAM))


def test_keys_of_populations_that_feed_answers_back_are_what_they_were() -> None:
    """Digests that the code before hidden answers gave for the paper's member."""
    spec = MemberSpec(Task(), DataSpec(), ROPE, (ROPE,), ModelSpec(), OptimSpec(), 5549)
    assert (spec.shape_key, spec.run_id, population_key(spec)) == ("8d436361545a", "c3f5112fb0fa", "d854d57cbde4")
