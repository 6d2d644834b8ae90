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
import torch.nn.functional as F
from torch import Tensor

from models import dropout, kernels, memory
from models.dropout import Dropout
from models.encodings import PositionInputs, build
from models.fusing import fused
from models.parameters import Parameters, frozen, member_parameters, stacked
from models.positions import TrainingPositions
from models.precision import allowed
from models.spec import MemberSpec, ModelSpec, OptimSpec, Precision, Schedule
from models.streams import stream
from models.transformer import dropout_lanes, forward
from models.workers import parallel
from posgen.plain import digest

CACHE_BYTES = 6 * 2**20
"""What the widest activation of a chunk may take on a CPU: chunks much larger run at the speed of main memory."""
SINGLE_BYTES = 2**20
"""Members whose widest activation is larger go one by one where a kernel for single matrices is the much faster."""


@dataclass(frozen=True)
class StepResult:
    """Of one step, for each member [P]: the mean loss over the generated tokens (nats) and the right answers' share."""

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
        self, members: Sequence[MemberSpec], data: Sequence[Tensor], device: str = "cpu", compiled: bool = False
    ) -> None:
        """`data[p]` holds member p's training sequences, integer [N, L]; members may share one tensor. `compiled`: let
        torch.compile fuse what lies between the matrix products (it pays on a GPU)."""
        if len({m.shape_key for m in members}) != 1:
            raise ValueError("members of one population must have equal shapes")
        self.device = torch.device(device)
        self.members = list(members)
        self.steps = 0
        self.shortages = 0  # how often memory ran out in a step, which was then taken again in smaller chunks
        self._order_epoch: int | None = None
        self._parts: int | None = None
        self._losses = fused(generated_losses) if compiled else generated_losses
        first = members[0]
        self.model, self.optim = first.model, first.optim
        self.encodings = [build(m.train_encoding, self.model.head_dim) for m in members]
        if len({e.structure() for e in self.encodings}) != 1:
            raise ValueError("encodings of one population must have equal structures")
        # Each data set once on the device, [U, N, L]; member p reads the one at _reads[p].
        sets = list({id(d): d for d in data}.values())
        self.data = torch.stack([d.to(self.device) for d in sets])
        self._reads = [next(i for i, s in enumerate(sets) if s is d) for d in data]
        own = [
            member_parameters(self.model, first.task.vocabulary, encoding, member.seed)
            for member, encoding in zip(members, self.encodings, strict=True)
        ]
        self.params = {name: weight.to(self.device) for name, weight in stacked(own).items()}
        self._attach()

    def __len__(self) -> int:
        return len(self.members)

    def _attach(self) -> None:
        """Gradients, optimiser and tables for the present members (at the start, and when members leave)."""
        first = self.members[0]
        self.trained = [name for name in self.params if not frozen(name, self.model)]
        for name in self.trained:
            self.params[name].grad = torch.zeros_like(self.params[name])
        self.optimizer, self.scheduler = make_optimizer(
            [self.params[n] for n in self.trained], self.optim, total_steps(first)
        )
        length = first.data.train_length + int(self.model.bos)
        # The last token is only ever predicted, so it is not an input.
        self.positions = TrainingPositions(self.encodings, self.model, length, length - 1, self.device)

    def chunks(self) -> list[slice]:
        """Slices of members of nearly equal size that one pass takes."""
        size = len(self)
        if not self._parts:
            self._parts = self._cache_parts() if self.device.type == "cpu" else self._memory_parts()
        return memory.divided(size, min(size, self._parts))

    def _cache_parts(self) -> int:
        """As many members at once as keep every core busy and their widest activation in the cache."""
        widest = max(3 * self.model.heads * self.model.head_dim, self.model.d_ff)
        member = self.optim.batch_size * self.positions.inputs * widest * 4
        threads = torch.get_num_threads()
        fitting = math.ceil(len(self) * member / CACHE_BYTES)
        if self.model.precision is Precision.fp32 and member > SINGLE_BYTES and kernels.single():
            fitting = len(self)
        return math.ceil(fitting / threads) * threads

    def _memory_parts(self) -> int:
        return memory.parts(len(self), memory.step_bytes(self.members[0]), 0, memory.free_bytes(self.device))

    def batch(self, epoch: int, index: int) -> Tensor:
        """Tokens [P, B, L] of batch `index` of `epoch`, in each member's own order."""
        if self._order_epoch != epoch:
            size = self.data.shape[1]
            orders = [torch.randperm(size, generator=stream(m.seed, "order", epoch)) for m in self.members]
            self._orders, self._order_epoch = torch.stack(orders).to(self.device), epoch
            self._sets = torch.tensor(self._reads, device=self.device)[:, None]
        rows = self._orders[:, index * self.optim.batch_size : (index + 1) * self.optim.batch_size]
        return self.data[self._sets, rows].long()

    def step(self, tokens: Tensor) -> StepResult:
        """One optimiser step of every member on `tokens` [P, B, L]."""
        found = self._pass(tokens)
        losses, right = zip(*found, strict=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        if self.scheduler is not None and self.steps + 1 < total_steps(self.members[0]):
            self.scheduler.step()
        self.steps += 1
        return StepResult(torch.cat(losses), torch.cat(right))

    def _pass(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Forward and backward of every member, gradients added; (losses, right answers) of each chunk."""
        while True:
            chunks = self.chunks()
            try:
                with allowed(self.model.precision, self.device):
                    return parallel(lambda chunk: self._backward(chunk, tokens[chunk]), chunks, self.device)
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error) or len(chunks) == len(self):
                    raise
            # Nothing was lost: every draw is a function of the step, and the gradients start again from zero.
            self.shortages += 1
            self._parts = min(len(self), 2 * len(chunks))
            self.optimizer.zero_grad(set_to_none=False)
            memory.release(self.device)

    def _backward(self, chunk: slice, tokens: Tensor) -> tuple[Tensor, Tensor]:
        leaves: Parameters = {}
        for name, weight in self.params.items():
            leaves[name] = weight.detach()[chunk]
            if weight.grad is not None:
                leaves[name].requires_grad_().grad = weight.grad[chunk]  # autograd adds into the population's gradient
        task, bos = self.members[0].task, int(self.model.bos)
        inputs = model_inputs(tokens, task.bos if bos else None)
        masks = None
        if self.model.dropout:
            lanes = dropout_lanes(self.model, *inputs.shape[1:])
            seeds = [m.seed for m in self.members[chunk]]
            masks = dropout.draw(self.model.dropout, seeds, self.steps, lanes, self.device)
        positions = self.positions.at(self.steps, chunk, [m.seed for m in self.members], leaves)
        losses, right = self._losses(leaves, self.model, inputs, tokens[:, :, task.prefix_length :], positions, masks)
        losses.sum().backward()
        return losses.detach(), right

    def keep(self, alive: Sequence[int]) -> None:
        """Go on with these members only; theirs is unchanged to the last bit."""
        states = [self.state(i) for i in alive]
        self.members = [self.members[i] for i in alive]
        self._reads = [self._reads[i] for i in alive]
        self.encodings = [self.encodings[i] for i in alive]
        self._order_epoch = self._parts = None
        if self.members:
            self.load(states)

    def state(self, member: int) -> dict[str, Any]:
        """One member's weights and moments, as copies: what `load` needs to go on from this very step."""
        found: dict[str, Any] = {"steps": self.steps, "params": {}, "exp_avg": {}, "exp_avg_sq": {}}
        for name, weight in self.params.items():
            found["params"][name] = weight[member].detach().to("cpu", copy=True)
            moments = self.optimizer.state.get(weight, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in moments:
                    found[key][name] = moments[key][member].to("cpu", copy=True)
        return found

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Put every member at its saved step (the same for all), in the order of `members`."""
        self.steps = states[0]["steps"]
        if any(s["steps"] != self.steps for s in states):
            raise ValueError("members of one population must be at the same step")
        names = list(self.params)
        self.params = {}
        del self.optimizer, self.scheduler
        memory.release(self.device)  # or the old weights and moments would stand beside the new ones
        self.params = {n: torch.stack([s["params"][n] for s in states]).to(self.device) for n in names}
        self._attach()
        for name in self.trained if self.steps else []:
            self.optimizer.state[self.params[name]] = {
                "step": torch.tensor(float(self.steps), device=self.device if self._fused else "cpu"),
                **{k: torch.stack([s[k][name] for s in states]).to(self.device) for k in ("exp_avg", "exp_avg_sq")},
            }
        # The schedule is a function of the step alone: replaying it costs microseconds and needs nothing stored.
        for _ in range(min(self.steps, total_steps(self.members[0]) - 1)):
            if self.scheduler is not None:
                self.scheduler.step()

    @property
    def _fused(self) -> bool:
        return bool(self.optimizer.param_groups[0].get("fused"))


def generated_losses(
    params: Parameters,
    model: ModelSpec,
    inputs: Tensor,
    targets: Tensor,
    positions: PositionInputs,
    masks: Dropout | None,
) -> tuple[Tensor, Tensor]:
    """Mean loss (nats) and share of right answers [P] over the generated tokens: `targets` [P, B, G] are the last G
    tokens that the decoder predicts from `inputs` [P, B, T]."""
    P, _, G = targets.shape
    logits = forward(params, model, inputs, positions, masks)[:, :, -G:]
    losses = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(P, -1).mean(1)
    return losses, (logits.detach().argmax(-1) == targets).float().mean((1, 2))


def model_inputs(tokens: Tensor, bos: int | None) -> Tensor:
    """What the decoder reads to predict `tokens` [P, B, L]: BOS in front when given, and never the last token."""
    if bos is None:
        return tokens[:, :, :-1]
    return torch.cat([torch.full_like(tokens[:, :, :1], bos), tokens[:, :, :-1]], dim=2)


def make_optimizer(
    weights: list[Tensor], optim: OptimSpec, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR | None]:
    """AdamW over stacked weights (element-wise, so exact for each member), and OneCycle over `steps` or None."""
    optimizer = torch.optim.AdamW(
        weights,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )
    if optim.schedule is Schedule.constant:
        return optimizer, None
    steps = max(steps, 2)
    # A warm-up that ends exactly at step 0 divides by zero in torch; a hair longer is the same schedule.
    warm_up = optim.pct_start if abs(optim.pct_start * steps - 1) > 1e-6 else optim.pct_start * (1 + 1e-5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=optim.lr,
        total_steps=steps,
        pct_start=warm_up,
        anneal_strategy="cos",
        div_factor=optim.div_factor,
        final_div_factor=optim.final_div_factor,
        base_momentum=optim.base_momentum,
        max_momentum=optim.max_momentum,
    )
    # torch warns when a schedule is replayed before the first optimiser step; here that is how a run resumes.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    return optimizer, scheduler
