"""Exchanged tokens: rules as models that must move or stay, and a loop over single sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from eval.measuring.interventions import (
    NO_ANSWER,
    Counts,
    Intervention,
    Read,
    chosen_positions,
    count,
    exchanged,
    interventions,
    reader,
)
from models.encodings import build
from models.parameters import initialise, stacked
from models.plain import PlainDecoder
from models.spec import EncodingSpec, ModelSpec
from posgen.generate import generate
from posgen.spec import Answers, Task

RULES = ("recursive", "cot", "semi_recursive")
LENGTH, TRAIN, ROWS, MODULUS = 64, 24, 40, 17


def paper(rule: str) -> Task:
    return Task(rule, rule, MODULUS)


def sequences(task: Task, rows: int = ROWS, length: int = LENGTH) -> Tensor:
    width = task.drawn_length
    prefixes = np.random.default_rng(5).integers(0, task.modulus, (rows, width)).astype(np.uint8)
    return torch.from_numpy(generate(task, prefixes, length))


def computes(rule: Callable[[np.ndarray, int], np.ndarray]) -> Read:
    """One model that answers rule(tokens [N, T], position), and sees no token at the position or after it."""

    def read(tokens: Tensor, positions: Sequence[int]) -> Tensor:
        seen = tokens.numpy().astype(np.int64)
        answers = [rule(seen[:, :position], position) % MODULUS for position in positions]
        return torch.from_numpy(np.stack(answers, axis=1))[None]

    return read


def counted(task: Task, rule: Callable[[np.ndarray, int], np.ndarray], at: Sequence[int], exchange: str) -> Counts:
    _, (counts,) = count(computes(rule), task, sequences(task), interventions(task, at, exchange), seed=0)
    return counts


# The rules as the paper has them (section 4.1), written once more.
FAR = {
    "recursive": lambda l: l - 4,  # noqa: E741
    "cot": lambda l: 0,  # noqa: E741
    "semi_recursive": lambda l: (l - 4) // 2,  # noqa: E741
}
# x_l - x_(l-1) of two neighbouring answers with the same sums in them: the far token drops out.
DETOUR: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "recursive": lambda x, at: 2 * x[:, at - 1] - x[:, at - 5],
    "cot": lambda x, at: 2 * x[:, at - 1] - x[:, at - 4],
    "semi_recursive": lambda x, at: 2 * x[:, at - 1] - x[:, at - 4],  # at odd positions
}


@pytest.mark.parametrize("rule", RULES)
def test_a_model_that_computes_the_rule_moves_always(rule: str) -> None:
    at = range(4, LENGTH)
    counts = counted(paper(rule), lambda x, l: x[:, FAR[rule](l)] + x[:, l - 3 : l].sum(1), at, "far")  # noqa: E741
    for all_of_them in (counts.answers, counts.moved, counts.right, counts.right_moved):
        assert all_of_them.tolist() == [ROWS] * len(at)
    assert not counts.stayed.any()
    assert not counts.right_stayed.any()


@pytest.mark.parametrize("rule", RULES)
def test_a_model_that_takes_the_detour_is_right_and_stays(rule: str) -> None:
    at = range(5, LENGTH, 2 if rule == "semi_recursive" else 1)
    counts = counted(paper(rule), DETOUR[rule], at, "far")
    assert counts.right.tolist() == counts.answers.tolist() == [ROWS] * len(at)
    assert counts.stayed.tolist() == counts.right_stayed.tolist() == [ROWS] * len(at)
    assert not counts.moved.any()


@pytest.mark.parametrize("rule", RULES)
def test_the_detour_answers_an_exchanged_near_token_wrongly(rule: str) -> None:
    """The last near token counts twice in it: the answer changes, but not as the rule says."""
    at = range(5, LENGTH, 2 if rule == "semi_recursive" else 1)
    counts = counted(paper(rule), DETOUR[rule], at, "near")
    assert counts.right.tolist() == [ROWS] * len(at)
    assert not counts.moved.any()
    assert not counts.stayed.any()


def test_wrong_answers_may_move_stay_or_change() -> None:
    task = paper("cot")
    never_right = counted(task, lambda x, at: x[:, 0] + x[:, at - 3 : at].sum(1) + 1, [10, 20], "far")
    assert never_right.right.tolist() == [0, 0]
    assert never_right.answers.tolist() == [ROWS, ROWS]
    assert not never_right.stayed.any()
    # Wrong by 1 before, it is right after only where the exchange adds 1 less than it did: never, as it moves along.
    assert not never_right.moved.any()
    blind = counted(task, lambda x, at: x[:, at - 1], [10, 20], "far")
    assert blind.stayed.tolist() == [ROWS, ROWS]


@pytest.mark.parametrize("rule", RULES)
def test_hidden_answers_need_the_far_token(rule: str) -> None:
    """The true rule moves; who does not read the far token is right where it happens to be 0, and stays."""
    task = Task(rule, rule, MODULUS, far=1, near=1, gap=2, answers=Answers.hidden)
    at = range(4, LENGTH)
    knows = counted(task, lambda x, l: x[:, FAR[rule](l)] + x[:, l - 1], at, "far")  # noqa: E741
    assert knows.right_moved.tolist() == knows.right.tolist() == knows.answers.tolist() == [ROWS] * len(at)
    blind = counted(task, lambda x, l: x[:, l - 1], at, "far")  # noqa: E741
    assert blind.stayed.tolist() == [ROWS] * len(at)
    assert blind.right.tolist() == [int((sequences(task)[:, FAR[rule](l)] == 0).sum()) for l in at]  # noqa: E741


def test_interleaved_answers_have_a_far_token_once() -> None:
    """y_s = a_(s // 2) + y_(s - 1) at every second step; in between the far token has served, and nothing is
    exchanged."""
    task = Task("semi", "semi_recursive", MODULUS, far=1, near=1, answers=Answers.interleaved)
    at = list(range(task.prefix_length + 1, LENGTH, 2))
    planned = interventions(task, at, "far")
    assert [len(one.answers) for one in planned] == [1] * len(planned)
    tested = [one.answers[0] for one in planned]
    assert set(tested) < set(at)
    source = {one.answers[0]: one.source for one in planned}

    def everywhere(x: np.ndarray, position: int) -> np.ndarray:
        return x[:, source[position]] + x[:, position - 2] if position in source else x[:, position - 2] + 1

    right, (counts,) = count(computes(everywhere), task, sequences(task), planned, seed=0)
    assert right[:, :, at].all()
    assert counts.right_moved.tolist() == [ROWS] * len(tested)


def test_answers_that_the_exchange_does_not_change_are_not_counted() -> None:
    """An h that is not one-to-one in its far token: only where its answer changes can anything move."""
    task = Task("cot", "cot", MODULUS, h="tests.eval.measuring.test_interventions:eighths")
    tokens, at = sequences(task), 12
    changed = exchanged(tokens, 0, MODULUS, 0)
    asked = int((tokens[:, 0] // 8 != changed[:, 0] // 8).sum())
    assert asked < ROWS
    truth = computes(lambda x, l: x[:, 0] // 8 + x[:, l - 3 : l].sum(1))  # noqa: E741
    _, (counts,) = count(truth, task, tokens, interventions(task, [at], "far"), seed=0)
    assert counts.answers.tolist() == counts.moved.tolist() == counts.right_moved.tolist() == [asked]


def eighths(args: np.ndarray, modulus: int) -> np.ndarray:
    return (args[:, 0] // 8 + args[:, 1:].sum(axis=1)) % modulus


def test_one_token_is_exchanged_for_any_other() -> None:
    tokens = torch.zeros(20_000, 5, dtype=torch.uint8) + 3
    changed = exchanged(tokens, 2, 7, seed=1)
    assert (changed != tokens).nonzero()[:, 1].unique().tolist() == [2]
    shares = torch.bincount(changed[:, 2].long(), minlength=7) / len(tokens)
    assert shares[3] == 0
    assert (shares[[0, 1, 2, 4, 5, 6]] - 1 / 6).abs().max() < 0.02
    assert torch.equal(changed, exchanged(tokens, 2, 7, seed=1))
    assert not torch.equal(changed, exchanged(tokens, 2, 7, seed=2))


@pytest.mark.parametrize("rule", RULES)
def test_both_sides_of_the_training_length_are_looked_at(rule: str) -> None:
    task = paper(rule)
    for amount in (1, 2, 5, 1_000):
        at = chosen_positions(task, TRAIN, LENGTH, amount)
        assert list(at) == sorted(set(at))
        assert {4, TRAIN} <= set(at)
        if amount > 1:
            assert {TRAIN - 1, LENGTH - 1} <= set(at)
        if amount == 1_000:
            assert at == tuple(range(4, LENGTH))
        if rule == "semi_recursive":  # even and odd positions are different problems
            assert {position ^ 1 for position in at} == set(at)


def test_answers_that_share_a_token_share_its_exchange() -> None:
    at = (4, 5, 8, 9, 30)
    assert interventions(paper("cot"), at, "far") == [Intervention(0, at)]
    assert interventions(paper("recursive"), at, "far") == [Intervention(l - 4, (l,)) for l in at]  # noqa: E741
    semi = [Intervention(0, (4, 5)), Intervention(2, (8, 9)), Intervention(13, (30,))]
    assert interventions(paper("semi_recursive"), at, "far") == semi
    assert interventions(paper("cot"), at, "near") == [Intervention(l - 1, (l,)) for l in at]  # noqa: E741
    assert interventions(replace(paper("cot"), far=0), at, "far") == []
    assert interventions(replace(paper("cot"), far=3), [9], "far") == [Intervention(0, (9,))]


MODEL = ModelSpec(layers=2, d_model=32, heads=2, head_dim=16, d_ff=64)
ROTATING = (EncodingSpec("rope"), EncodingSpec("pi", "pi", params={"factor": 2.0}), EncodingSpec("rope"))


@torch.no_grad()
@pytest.mark.parametrize("rule", RULES)
def test_counts_are_those_of_a_loop_over_single_sequences(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny random models against the plain decoder, one sequence and one position at a time."""
    monkeypatch.setattr("eval.measuring.batches.BUDGET.tokens", lambda device: 3 * 24)  # passes of a few sequences
    task, length, rows = Task(rule, rule, 5), 24, 7
    tokens = sequences(task, rows, length)
    weights = [initialise(MODEL, task.vocabulary, seed) for seed in (1, 2, 3)]
    weights = [{**member, "final_norm": 3 * member["final_norm"]} for member in weights]
    planned = interventions(task, (4, 5, 11, 12, 13, 23), "far")
    read = reader(stacked(weights), MODEL, task, [build(spec, 16) for spec in ROTATING], length)
    right, found = count(read, task, tokens, planned, seed=3)

    inv_freq = 10_000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    bos = task.vocabulary - 1
    for member, (params, divide) in enumerate(zip(weights, (1.0, 2.0, 1.0), strict=True)):
        decoder = PlainDecoder(task.vocabulary, 2, 32, 2, 16, 64)
        decoder.take(params)
        angles = torch.arange(length + 1).double()[:, None] / divide * inv_freq

        def says(sequence: Tensor, position: int, decoder: PlainDecoder = decoder, angles: Tensor = angles) -> int:
            ids = torch.cat([torch.tensor([bos]), sequence[:position].long()])
            return int(decoder(ids[None], angles[: len(ids)])[0, -1].argmax())

        expected = np.zeros((6, 6), int)
        for one in planned:
            changed = exchanged(tokens, one.source, 5, 3)
            for n in range(rows):
                for position in one.answers:
                    before, after = says(tokens[n], position), says(changed[n], position)
                    far = FAR[rule](position)
                    assert far == one.source
                    truth = int(tokens[n, position])
                    target = int(changed[n, far] + changed[n, position - 3 : position].sum()) % 5
                    assert target != truth
                    known, moved, stayed = before == truth, after == target != before, after == before
                    column = (4, 5, 11, 12, 13, 23).index(position)
                    expected[:, column] += [1, moved, stayed, known, known and moved, known and stayed]
        np.testing.assert_array_equal(np.stack(list(vars(found[member]).values())), expected)
        for position in range(4, length):
            assert right[member, :, position].tolist() == [says(s, position) == int(s[position]) for s in tokens]
        assert not right[member, :, :4].any()


def test_a_bias_is_read_as_a_rotation_is() -> None:
    """Members of one structure side by side, and one alone, answer alike; a bias too."""
    task = Task("cot", "cot", 5)
    tokens, planned = sequences(task, 9, 24), interventions(task, (5, 23), "far")
    weights = [{**w, "final_norm": 3 * w["final_norm"]} for w in (initialise(MODEL, 10, seed) for seed in (1, 2))]
    encodings = [build(EncodingSpec("alibi", kind="alibi"), 16)] * 2
    _, both = count(reader(stacked(weights), MODEL, task, encodings, 24), task, tokens, planned, seed=0)
    for member, counts in enumerate(both):
        alone = reader(stacked([weights[member]]), MODEL, task, encodings[:1], 24)
        _, (single,) = count(alone, task, tokens, planned, seed=0)
        for name, column in vars(counts).items():
            np.testing.assert_array_equal(column, getattr(single, name))


def test_what_is_not_finite_is_no_answer() -> None:
    task = Task("cot", "cot", 5)
    weights = initialise(MODEL, task.vocabulary, 1)
    broken = {**weights, "final_norm": torch.full_like(weights["final_norm"], float("nan"))}
    read = reader(stacked([broken]), MODEL, task, [build(EncodingSpec("rope"), 16)], 24)
    tokens = sequences(task, 9, 24)
    assert (read(tokens, [5, 23]) == NO_ANSWER).all()
    right, (counts,) = count(read, task, tokens, interventions(task, (5, 23), "far"), seed=0)
    assert not right.any()
    assert counts.answers.tolist() == [9, 9]
    assert not counts.stayed.any()
    assert not counts.moved.any()


def test_the_work_told_adds_up_to_one() -> None:
    task, shares = paper("recursive"), list[float]()
    truth = computes(lambda x, l: x[:, l - 4 : l].sum(1))  # noqa: E741
    count(truth, task, sequences(task), interventions(task, (4, 30, 63), "far"), 0, shares.append)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == 4


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("knows", [True, False])
def test_logits_are_read_where_they_stand(bos: bool, knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of a decoder that computes the rule, and of one that takes the detour, in the place of the decoder's."""
    task, model = paper("recursive"), replace(MODEL, bos=bos)

    def forward(params: object, model: object, inputs: Tensor, positions: object) -> Tensor:
        tokens, logits = inputs[:, :, int(bos) :], torch.zeros(*inputs.shape, task.vocabulary)
        for at in range(5, inputs.shape[2] + int(not bos)):
            near = tokens[:, :, at - 4 : at].sum(-1) if knows else 2 * tokens[:, :, at - 1] - tokens[:, :, at - 5]
            logits[:, :, at - 1 + int(bos)].scatter_(-1, (near % MODULUS)[..., None], 9.0)
        return logits

    monkeypatch.setattr("eval.measuring.interventions.forward", forward)
    weights = stacked([initialise(model, task.vocabulary, 1)])
    read = reader(weights, model, task, [build(EncodingSpec("rope"), 16)], LENGTH)
    planned = interventions(task, chosen_positions(task, TRAIN, LENGTH, 6)[1:], "far")
    right, (counts,) = count(read, task, sequences(task), planned, seed=0)
    assert right[:, :, 5:].all()
    assert (counts.right_moved if knows else counts.right_stayed).tolist() == [ROWS] * len(planned)
    assert not (counts.right_stayed if knows else counts.right_moved).any()
