"""The population: members of one shape that train side by side, each as if it were alone.

Member p owns slice p of every weight, gradient and optimiser moment; nothing in a step mixes members, so its curve
does not depend on who trains beside it. A step runs over chunks of members: sized for the cache on a CPU, as large as
memory allows on a GPU. Where memory runs out all the same, the step is taken again in smaller chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from models import dropout, kernels, memory
from models.batches import Batches
from models.encodings import build
from models.fusing import fused
from models.optim import fast_forward, make_optimizer
from models.parameters import Parameters, frozen, member_parameters, stacked
from models.positions import TrainingPositions
from models.precision import allowed
from models.spec import MemberSpec, Precision
from models.transformer import dropout_lanes, generated_losses, model_inputs
from models.workers import parallel
from posgen.answers import scored_positions
from posgen.plain import digest

CACHE_BYTES = 6 * 2**20
"""Bytes of the widest activation of a chunk on a CPU: much larger chunks run at the speed of main memory."""
SINGLE_BYTES = 2**20
"""Members whose widest activation is larger go one by one where a kernel for single matrices is much faster."""


@dataclass(frozen=True)
class StepResult:
    """Of one step, for each member [P]: the mean loss (nats) and the token accuracy over the answers."""

    loss: Tensor
    accuracy: Tensor


def batches_per_epoch(size: int, batch: int) -> int:
    """Steps of an epoch: the last, smaller batch is kept (79 for 10,000 sequences in batches of 128)."""
    return -(-size // batch)


def population_key(spec: MemberSpec) -> str:
    """Members of equal key can be one population: the same shapes, and encodings of the same structure."""
    return digest([spec.shape_key, build(spec.train_encoding, spec.model.head_dim).structure()])


def total_steps(spec: MemberSpec) -> int:
    """Optimiser steps of the whole training: 11,850 for the paper."""
    return spec.optim.epochs * batches_per_epoch(spec.data.train_size, spec.optim.batch_size)


class Population:
    """P members with their weights, optimiser and schedule. All must have the same `MemberSpec.shape_key`."""

    def __init__(
        self,
        members: Sequence[MemberSpec],
        data: Sequence[Tensor],
        device: str = "cpu",
        compiled: bool = False,
        answers: Sequence[Tensor] | None = None,
    ) -> None:
        """`data[p]` holds member p's training sequences, integer [N, L], and `answers[p]` the right answers at each of
        their positions (posgen.answers; None: the tokens themselves); members may share one tensor. `compiled`: let
        torch.compile fuse what lies between the matrix products (it pays on a GPU)."""
        if len({m.shape_key for m in members}) != 1:
            raise ValueError("members of one population must have equal shapes")
        first = members[0]
        self.device = torch.device(device)
        self.members = list(members)
        self.model, self.optim = first.model, first.optim
        self.steps = 0
        self.shortages = 0  # how often memory ran out in a step, which was then taken again in smaller chunks
        self._chunk_count: int | None = None
        self._losses = fused(generated_losses) if compiled else generated_losses

        self.encodings = [build(m.train_encoding, self.model.head_dim) for m in members]
        if len({e.structure() for e in self.encodings}) != 1:
            raise ValueError("encodings of one population must have equal structures")
        # One member's weights are drawn at a time, on the CPU, so that they depend on neither companions nor device.
        initial = [
            member_parameters(self.model, first.task.vocabulary, encoding, member.seed)
            for member, encoding in zip(members, self.encodings, strict=True)
        ]
        self.params = {name: weight.to(self.device) for name, weight in stacked(initial).items()}
        self.trained = [name for name in self.params if not frozen(name, self.model)]

        self.batches = Batches(members, data, answers, self.device)

        self.optimizer, self.scheduler = self._new_optimizer()
        self.positions = self._new_positions()

    def __len__(self) -> int:
        return len(self.members)

    def _new_optimizer(self) -> tuple[torch.optim.AdamW, OneCycleLR | None]:
        """Optimiser and schedule of the present weights, at step 0."""
        weights = [self.params[name] for name in self.trained]
        for weight in weights:
            # Chunks add into views of it (`_backward`): it must be there before the first step, and stay.
            weight.grad = torch.zeros_like(weight)
        return make_optimizer(weights, self.optim, total_steps(self.members[0]))

    def _new_positions(self) -> TrainingPositions:
        """What the encodings of the present members give the decoder."""
        length = self.members[0].data.train_length + int(self.model.bos)
        # The last token is only ever predicted, so it is not an input.
        return TrainingPositions(self.encodings, self.model, length, length - 1, self.device)

    def chunks(self) -> list[slice]:
        """Slices of members of nearly equal size that one pass takes."""
        if not self._chunk_count:
            self._chunk_count = self._chunks_for_cache() if self.device.type == "cpu" else self._chunks_for_memory()
        return memory.divided(len(self), min(len(self), self._chunk_count))

    def _chunks_for_cache(self) -> int:
        """As many members at once as keep every core busy and their widest activation in the cache."""
        # The widest activation is the q, k, v projection [B, T, 3 H K] or the hidden layer [B, T, d_ff], in fp32.
        widest = max(3 * self.model.heads * self.model.head_dim, self.model.d_ff)
        member_bytes = self.optim.batch_size * self.positions.inputs * widest * 4
        count = math.ceil(len(self) * member_bytes / CACHE_BYTES)
        if self.model.precision is Precision.fp32 and member_bytes > SINGLE_BYTES and kernels.single():
            count = len(self)
        # Every core takes a chunk at a time: with a multiple of their number none is idle in the last round.
        threads = torch.get_num_threads()
        return math.ceil(count / threads) * threads

    def _chunks_for_memory(self) -> int:
        return memory.parts(len(self), memory.step_bytes(self.members[0]), 0, memory.free_bytes(self.device))

    def batch(self, epoch: int, index: int) -> Tensor:
        """Tokens [P, B, L] of batch `index` of `epoch`, in each member's own order."""
        return self.batches.tokens(epoch, index)

    def step(self, tokens: Tensor, answers: Tensor | None = None) -> StepResult:
        """One optimiser step of every member on `tokens` and their `answers` [P, B, L] (None: the tokens)."""
        answers = tokens if answers is None else answers
        losses, accuracies = zip(*self._forward_backward(tokens, answers), strict=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        # The schedule ends with the last step: it has no rate for a step after that.
        if self.scheduler is not None and self.steps + 1 < total_steps(self.members[0]):
            self.scheduler.step()
        self.steps += 1
        return StepResult(torch.cat(losses), torch.cat(accuracies))

    def _forward_backward(self, tokens: Tensor, answers: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Forward and backward pass of every member, gradients added; (losses, accuracies) of each chunk."""
        while True:
            chunks = self.chunks()
            try:
                with allowed(self.model.precision, self.device):
                    return parallel(
                        lambda chunk: self._backward(chunk, tokens[chunk], answers[chunk]), chunks, self.device
                    )
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error) or len(chunks) == len(self):
                    raise
            # Nothing is lost by doing it again: every random draw is a function of the step, and the gradients, to
            # which some chunks have already added, start again from zero. Outside of `except`, whose error holds on to
            # the tensors of the failed pass.
            self.shortages += 1
            self._chunk_count = min(len(self), 2 * len(chunks))
            self.optimizer.zero_grad(set_to_none=False)
            memory.release(self.device)

    def _backward(self, chunk: slice, tokens: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and accuracies [p] of a chunk's members on their `tokens` and `answers` [p, B, L]; adds to their
        gradients."""
        # Slices of the weights [p, ...] as leaves of a graph of their own, so that chunks can run in several threads.
        # Each leaf's gradient is a view into the population's, into which autograd then adds.
        leaves: Parameters = {}
        for name, weight in self.params.items():
            leaves[name] = weight.detach()[chunk]
            if weight.grad is not None:
                leaves[name].requires_grad_().grad = weight.grad[chunk]
        task = self.members[0].task
        inputs = model_inputs(tokens, task.bos if self.model.bos else None)  # (p, B, T)
        # The same for all members: of other answers their shape_key would be another. The seed tokens are given.
        asked = scored_positions(task, tokens.shape[2])
        targets = answers[:, :, asked.start :: asked.step]
        first = asked.start + inputs.shape[2] - tokens.shape[2]  # without a BOS there is no output for the first token
        masks = None
        if self.model.dropout:
            lanes = dropout_lanes(self.model, *inputs.shape[1:])
            seeds = [m.seed for m in self.members[chunk]]
            masks = dropout.draw(self.model.dropout, seeds, self.steps, lanes, self.device)
        positions = self.positions.at(self.steps, chunk, [m.seed for m in self.members], leaves)
        losses, accuracies = self._losses(leaves, self.model, inputs, targets, positions, masks, first, asked.step)
        # The sum, not the mean: a member's gradient must not depend on how many others there are.
        losses.sum().backward()
        return losses.detach(), accuracies

    def keep(self, alive: Sequence[int]) -> None:
        """Go on with these members only; theirs is unchanged to the last bit."""
        states = [self.state(i) for i in alive]
        self.members = [self.members[i] for i in alive]
        self.encodings = [self.encodings[i] for i in alive]
        self.batches.keep(alive)
        self._chunk_count = None
        if self.members:
            self.load(states)

    def state(self, member: int) -> dict[str, Any]:
        """One member's weights and moments, as copies: what `load` needs to go on from this very step."""
        state: dict[str, Any] = {"steps": self.steps, "params": {}, "exp_avg": {}, "exp_avg_sq": {}}
        for name, weight in self.params.items():
            state["params"][name] = weight[member].detach().to("cpu", copy=True)
            moments = self.optimizer.state.get(weight, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in moments:
                    state[key][name] = moments[key][member].to("cpu", copy=True)
        return state

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Put every member at its saved step (the same for all), in the order of `members`."""
        self.steps = states[0]["steps"]
        if any(s["steps"] != self.steps for s in states):
            raise ValueError("members of one population must be at the same step")
        names = list(self.params)
        # Let go of the old weights and moments first, or they would stand in memory beside the new ones.
        self.params = {}
        del self.optimizer, self.scheduler
        memory.release(self.device)
        self.params = {n: torch.stack([s["params"][n] for s in states]).to(self.device) for n in names}
        self.optimizer, self.scheduler = self._new_optimizer()
        self.positions = self._new_positions()
        for name in self.trained if self.steps else []:
            self.optimizer.state[self.params[name]] = {
                # A fused AdamW wants its count of steps on the device of the weights.
                "step": torch.tensor(float(self.steps), device=self.device),
                **{k: torch.stack([s[k][name] for s in states]).to(self.device) for k in ("exp_avg", "exp_avg_sq")},
            }
        if self.scheduler is not None:
            fast_forward(self.scheduler, min(self.steps, total_steps(self.members[0]) - 1))
