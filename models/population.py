"""The population: members of one shape that train side by side, each as if it were alone.

Member p owns slice p of every weight, gradient and optimiser moment; nothing in a step mixes members, so its curve
does not depend on who trains beside it. A step runs over chunks of members sized for the cache (CPU) or at once (GPU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dropout import Dropout
from models.encodings import build
from models.parameters import Parameters, frozen, member_parameters, stacked
from models.positions import TrainingPositions
from models.spec import MemberSpec, OptimSpec, Schedule
from models.streams import stream
from models.transformer import dropout_lanes, forward
from models.workers import parallel
from posgen.plain import digest

CACHE_BYTES = 6 * 2**20
"""What the widest activation of a chunk may take on a CPU: chunks much larger run at the speed of main memory."""


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

    def __init__(self, members: Sequence[MemberSpec], data: Sequence[Tensor], device: str = "cpu") -> None:
        """`data[p]` holds member p's training sequences, integer [N, L]; members may share one tensor."""
        if len({m.shape_key for m in members}) != 1:
            raise ValueError("members of one population must have equal shapes")
        self.device = torch.device(device)
        self.members = list(members)
        self.steps = 0
        first = members[0]
        self.model, self.optim = first.model, first.optim
        self.encodings = [build(m.train_encoding, self.model.head_dim) for m in members]
        if len({e.structure() for e in self.encodings}) != 1:
            raise ValueError("encodings of one population must have equal structures")
        # Members of one task share one tensor on the device.
        on_device = {id(d): d.to(self.device) for d in data}
        self.data = [on_device[id(d)] for d in data]
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

    def chunks(self, batch: int) -> list[slice]:
        """Slices of members that one pass takes: on a CPU as many of equal size as keep every core busy."""
        size, count = len(self), 1
        if self.device.type == "cpu":
            widest = max(3 * self.model.heads * self.model.head_dim, self.model.d_ff)
            member = batch * self.positions.inputs * widest * 4
            threads = torch.get_num_threads()
            count = -(-size * member // CACHE_BYTES)
            count = min(size, -(-count // threads) * threads)
        return [slice(size * i // count, size * (i + 1) // count) for i in range(count)]

    def batch(self, epoch: int, index: int) -> Tensor:
        """Tokens [P, B, L] of batch `index` of `epoch`, in each member's own order."""
        if getattr(self, "_order_epoch", None) != epoch:
            size = self.data[0].shape[0]
            self._orders = [
                torch.randperm(size, generator=stream(m.seed, "order", epoch)).to(self.device) for m in self.members
            ]
            self._order_epoch = epoch
        rows = slice(index * self.optim.batch_size, (index + 1) * self.optim.batch_size)
        return torch.stack([d[order[rows]] for d, order in zip(self.data, self._orders, strict=True)]).long()

    def step(self, tokens: Tensor) -> StepResult:
        """One optimiser step of every member on `tokens` [P, B, L]."""
        chunks = self.chunks(tokens.shape[1])
        found = parallel(lambda chunk: self._backward(chunk, tokens[chunk]), chunks)
        losses, right = zip(*found, strict=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        if self.scheduler is not None and self.steps + 1 < total_steps(self.members[0]):
            self.scheduler.step()
        self.steps += 1
        return StepResult(torch.cat(losses), torch.cat(right))

    def _backward(self, chunk: slice, tokens: Tensor) -> tuple[Tensor, Tensor]:
        leaves: Parameters = {}
        for name, weight in self.params.items():
            leaves[name] = weight.detach()[chunk]
            if weight.grad is not None:
                leaves[name].requires_grad_().grad = weight.grad[chunk]  # autograd adds into the population's gradient
        task, bos = self.members[0].task, int(self.model.bos)
        inputs = model_inputs(tokens, task.bos if bos else None)
        dropout = None
        if self.model.dropout:
            lanes = dropout_lanes(self.model, *inputs.shape[1:])
            seeds = [m.seed for m in self.members[chunk]]
            dropout = Dropout(self.model.dropout, seeds, self.steps, lanes, self.device)
        positions = self.positions.at(self.steps, chunk, [m.seed for m in self.members], leaves)
        logits = forward(leaves, self.model, inputs, positions, dropout)
        targets = tokens[:, :, task.prefix_length :]
        logits = logits[:, :, task.prefix_length - 1 + bos :]
        losses = (
            F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(len(tokens), -1).mean(1)
        )
        losses.sum().backward()
        right = (logits.detach().argmax(-1) == targets).float().mean((1, 2))
        return losses.detach(), right

    def keep(self, alive: Sequence[int]) -> None:
        """Go on with these members only; theirs is unchanged to the last bit."""
        states = [self.state(i) for i in alive]
        self.members = [self.members[i] for i in alive]
        self.data = [self.data[i] for i in alive]
        self.encodings = [self.encodings[i] for i in alive]
        self.__dict__.pop("_order_epoch", None)
        if self.members:
            self.load(states)

    def state(self, member: int) -> dict[str, Any]:
        """One member's weights and moments, as copies: what `load` needs to go on from this very step."""
        found: dict[str, Any] = {"steps": self.steps, "params": {}, "exp_avg": {}, "exp_avg_sq": {}}
        for name, weight in self.params.items():
            found["params"][name] = weight[member].detach().cpu().clone()
            moments = self.optimizer.state.get(weight, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in moments:
                    found[key][name] = moments[key][member].cpu().clone()
        return found

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Put every member at its saved step (the same for all), in the order of `members`."""
        self.steps = states[0]["steps"]
        if any(s["steps"] != self.steps for s in states):
            raise ValueError("members of one population must be at the same step")
        self.params = {n: torch.stack([s["params"][n] for s in states]).to(self.device) for n in self.params}
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
