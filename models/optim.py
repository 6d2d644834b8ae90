"""The optimiser of stacked weights and its schedule: AdamW and OneCycle, as in the released code (ledger row 13)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from models.spec import OptimSpec, Schedule


def make_optimizer(weights: list[Tensor], optim: OptimSpec, steps: int) -> tuple[torch.optim.AdamW, OneCycleLR | None]:
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
    # OneCycleLR divides by pct_start * steps - 1, the last step of the warm-up: where that is 0, pct_start is nudged.
    warm_up = optim.pct_start if abs(optim.pct_start * steps - 1) > 1e-6 else optim.pct_start * (1 + 1e-5)
    scheduler = OneCycleLR(
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
    return optimizer, scheduler


def fast_forward(scheduler: OneCycleLR, steps: int) -> None:
    """Bring a new schedule to where it is after `steps` steps, for a training that is resumed there.

    OneCycle's learning rate and momentum are functions of the step number alone, so none of the steps before is needed.
    """
    if steps == 0:
        return
    # torch warns when the first call of `step` comes before one of the optimiser's. By the count of calls, which
    # serves nothing else, this is not the first: the optimiser's earlier steps were taken before the interruption.
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": steps - 1, "_step_count": steps + 1})
    scheduler.step()  # computes both for `steps` and writes them into the optimiser
