"""The training sequences of a population, and the batches that each member takes of them in its own order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.spec import MemberSpec
from models.streams import stream


class Batches:
    """Sequences and their right answers on the device. Members of one task and data seed share a data set, so each goes
    there once."""

    def __init__(
        self,
        members: Sequence[MemberSpec],
        data: Sequence[Tensor],
        answers: Sequence[Tensor] | None,
        device: torch.device,
    ) -> None:
        """`data[p]` and `answers[p]` are member p's, integer [N, L]; None: the answers are the tokens."""
        pairs = list(zip(data, data if answers is None else answers, strict=True))
        unique = list({(id(d), id(a)): (d, a) for d, a in pairs}.values())
        self._tokens = torch.stack([d.to(device) for d, _ in unique])  # [U, N, L] for U different data sets
        # The same memory where all answers are tokens.
        differ = any(a is not d for d, a in unique)
        self._answers = torch.stack([a.to(device).to(torch.int32) for _, a in unique]) if differ else self._tokens
        reads = [next(i for i, (u, v) in enumerate(unique) if u is d and v is a) for d, a in pairs]
        self._read_by = torch.tensor(reads, device=device)[:, None]  # (P, 1), index into U
        self._seeds, self._batch_size = [m.seed for m in members], members[0].optim.batch_size
        self._order: tuple[int, Tensor] | None = None  # (epoch, sequences in each member's order [P, N])

    def tokens(self, epoch: int, index: int) -> Tensor:
        """Tokens [P, B, L] of batch `index` of `epoch`, in each member's own order."""
        return self._tokens[self._read_by, self._rows(epoch, index)].long()

    def answers(self, epoch: int, index: int) -> Tensor | None:
        """The right answers [P, B, L] to these tokens; None where they are the tokens."""
        if self._answers is self._tokens:
            return None
        return self._answers[self._read_by, self._rows(epoch, index)].long()

    def keep(self, alive: Sequence[int]) -> None:
        """Go on for these members only."""
        self._read_by = self._read_by[list(alive)]
        self._seeds = [self._seeds[i] for i in alive]
        self._order = None

    def _rows(self, epoch: int, index: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            size = self._tokens.shape[1]
            orders = [torch.randperm(size, generator=stream(seed, "order", epoch)) for seed in self._seeds]
            self._order = epoch, torch.stack(orders).to(self._tokens.device)
        return self._order[1][:, index * self._batch_size : (index + 1) * self._batch_size]
