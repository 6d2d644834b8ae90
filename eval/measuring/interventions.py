"""Interventions on one token: what a trained member's answers do when a token that they depend on is exchanged.

A causal test of what a model reads. One token of a test sequence is replaced by another value and every other token
stays as it was read (teacher-forced). The right answer at position l is then h of the arguments that the rule names for
l, with that one exchanged. An answer moves when it becomes this one, stays when it is what it was, and is another wrong
answer otherwise. A model whose answers stay does not use that token, however often it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.measuring import passes
from eval.measuring.batches import in_fitting_passes, side_by_side
from eval.measuring.passes import Ticked
from models.encodings import Encoding
from models.positions import measured_positions
from models.spec import ModelSpec
from models.streams import stream
from models.transformer import forward, model_inputs
from models.workers import checkpoint
from posgen import rules
from posgen.answers import answer, answers, scored_positions
from posgen.functions import resolve
from posgen.rules import dependencies
from posgen.spec import Task

NO_ANSWER = -1
"""In the place of the argmax of logits that are not finite."""


@dataclass(frozen=True)
class Intervention:
    """The token at `source` is exchanged; looked at are the answers at `answers`, rising positions, which all depend on
    it."""

    source: int
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """What the interventions did to one member's answers, by position of the answer: integers [A]. Counted are answers
    that the exchange makes another right one; `right*` only those that the member had right before."""

    answers: np.ndarray
    moved: np.ndarray
    stayed: np.ndarray
    right: np.ndarray
    right_moved: np.ndarray
    right_stayed: np.ndarray


Read = Callable[[Tensor, Sequence[int]], Tensor]
"""The answers of P members at these positions of sequences [N, T]: token ids, int64 [P, N, positions]. Only tokens
before a position are read for its answer."""


def chosen_positions(task: Task, train_length: int, length: int, count: int) -> tuple[int, ...]:
    """`count` positions with an answer within the training length and `count` beyond it, evenly spaced on a logarithmic
    scale from the first to the last of each side. Under a rule whose neighbouring positions are different problems
    (Rule.period) each stands for a whole period of answers."""
    scored, period = list(scored_positions(task, length)), rules.rule(task.rule).period
    runs = [scored[start : start + period] for start in range(0, len(scored), period)]
    chosen: set[int] = set()
    for side in ([run for run in runs if run[0] < train_length], [run for run in runs if run[0] >= train_length]):
        if not side:
            continue
        starts = np.array([run[0] for run in side])
        for wanted in np.geomspace(starts[0], starts[-1], count if count > 1 else 1):
            chosen.update(side[int(np.abs(starts - wanted).argmin())])
    return tuple(sorted(chosen))


def interventions(task: Task, positions: Sequence[int], exchange: str) -> list[Intervention]:
    """What is exchanged for the answers at these positions, one of conf.rules.EXCHANGES: answers that share a token
    share an intervention. Answers without such a token (a task without far tokens) have none."""
    by_source: dict[int, list[int]] = {}
    for position in sorted(positions):
        far, near = dependencies(task, position)
        reads = far[:1] if exchange == "far" else near[-1:]
        for source in reads:
            by_source.setdefault(source, []).append(position)
    return [Intervention(source, tuple(at)) for source, at in sorted(by_source.items())]


def exchanged(tokens: Tensor, source: int, modulus: int, seed: int) -> Tensor:
    """The sequences [N, T] with another value at `source`: each of the modulus - 1 others with equal chance, drawn for
    this position from `seed`, the same for all members."""
    changed = tokens.clone()
    shift = torch.randint(1, modulus, (len(tokens),), generator=stream(seed, "interventions", source))
    changed[:, source] = ((tokens[:, source].long() + shift) % modulus).to(tokens.dtype)
    return changed


def count(
    read: Read, task: Task, tokens: Tensor, planned: Sequence[Intervention], seed: int, ticked: Ticked = passes.nothing
) -> tuple[np.ndarray, list[Counts]]:
    """(whether each unchanged answer is right, bool [P, N, L], False where none is asked for; the counts of each
    member, over the tested positions in rising order).

    tokens: integers [N, L]. `ticked`: told as it goes what share of the work was done, by the tokens read.
    """
    length, h = tokens.shape[1], resolve(task.h)
    scored = list(scored_positions(task, length))
    column = {position: i for i, position in enumerate(scored)}
    given = tokens.numpy()
    true = torch.from_numpy(answers(task, given).astype(np.int64))
    work = sum(one.answers[-1] for one in planned) + length
    before = read(tokens, scored)  # [P, N, S]
    ticked(length / work)
    right = torch.zeros(len(before), *tokens.shape, dtype=torch.bool)
    right[:, :, scored] = before == true[:, scored]
    by_position: dict[int, Tensor] = {}
    for one in planned:
        changed = exchanged(tokens, one.source, task.modulus, seed)
        after = read(changed[:, : one.answers[-1] + 1], one.answers)
        columns = changed.numpy().T
        for i, position in enumerate(one.answers):
            now, was = after[:, :, i], before[:, :, column[position]]
            target = torch.from_numpy(answer(task, h, columns, position).astype(np.int64))
            asked = target != true[:, position]  # an h that is not bijective may give the same answer
            moved = (now == target) & (now != was) & asked
            stayed = (now == was) & (now != NO_ANSWER) & asked
            known = right[:, :, position] & asked
            asked = asked.expand_as(now)
            parts = (asked, moved, stayed, known, known & moved, known & stayed)
            by_position[position] = torch.stack([part.sum(1) for part in parts])  # [6, P]
        ticked(one.answers[-1] / work)
    if not by_position:
        return right.numpy(), [Counts(*np.zeros((6, 0), np.int64)) for _ in before]
    counted = torch.stack([by_position[position] for position in sorted(by_position)], dim=-1).numpy()  # [6, P, A]
    return right.numpy(), [Counts(*counted[:, member]) for member in range(len(before))]


def reader(
    params: Mapping[str, Tensor], model: ModelSpec, task: Task, encodings: Sequence[Encoding], length: int
) -> Read:
    """How P members answer, from their weights [P, ...] and the encoding of each. `length`: of the whole sequences, in
    tokens, which an encoding may depend on; what is read may end before that."""
    device = params["embedding"].device
    structures = [encoding.structure() for encoding in encodings]

    def read(tokens: Tensor, positions: Sequence[int]) -> Tensor:
        def work(budget: int, ticked: Ticked) -> Tensor:
            return _read(params, model, task, encodings, structures, length, tokens, positions, budget)

        return in_fitting_passes(work, tokens.shape[1], model.precision, device, passes.nothing)

    return read


def _read(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    task: Task,
    encodings: Sequence[Encoding],
    structures: Sequence[str],
    length: int,
    tokens: Tensor,
    positions: Sequence[int],
    budget: int,
) -> Tensor:
    """With passes of at most `budget` tokens."""
    device = params["embedding"].device
    rows, read = tokens.shape
    bos, shift = (task.bos if model.bos else None), int(model.bos)
    sequences = max(1, min(rows, budget // read))
    at_once = max(1, budget // (sequences * read))
    # The output at an input predicts the token after it.
    outputs = [position - 1 + shift for position in positions]

    @torch.no_grad()  # here, not around `parallel`: the setting belongs to a thread
    def run(part: Sequence[int]) -> list[Tensor]:
        members = torch.tensor(part, device=device)
        weights = {name: weight.detach()[members] for name, weight in params.items()}
        inputs = read - 1 + shift
        given = measured_positions([encodings[i] for i in part], weights, model, length + shift, inputs, device)
        found = []
        for start in range(0, rows, sequences):
            some = tokens[start : start + sequences].to(device).long().expand(len(part), -1, -1)
            logits = forward(weights, model, model_inputs(some, bos), given)[:, :, outputs]
            ids = logits.argmax(-1)
            found.append(torch.where(logits.isfinite().all(-1), ids, NO_ANSWER).cpu())
            checkpoint()
        return list(torch.cat(found, dim=1))

    return torch.stack(side_by_side(run, structures, at_once, device))
