"""The optimiser's step of a fine-tuning on one or many processes, by accelerate: accumulation, autocast, gradients
averaged over processes, states that each process writes its part of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conf.finetuning import Recipe
from posgen.errors import BadValue, MissingPackage, UserError, told

_TRAINED = "trained.safetensors"


class Loop:
    """One process's part in a tuning. `main`: whether it is the first, which writes and prints; `sharded`: whether
    weights and moments are divided among the processes (FSDP, DeepSpeed)."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedType
        except ModuleNotFoundError:
            raise MissingPackage("fine-tuning needs accelerate: pip install 'posgen[llm]'", name="accelerate") from None
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        at_once = recipe.micro_batch * processes
        if recipe.batch % at_once:
            remedy = f"use a multiple of micro_batch={recipe.micro_batch} times {processes} processes"
            raise BadValue("batch", recipe.batch, remedy)
        self.recipe, self.accumulation = recipe, recipe.batch // at_once
        try:
            self.accelerator = Accelerator(
                mixed_precision="bf16" if recipe.precision == "bf16" else "no",
                gradient_accumulation_steps=self.accumulation,
                cpu=torch.device(device).type == "cpu",
            )
        except (ValueError, RuntimeError) as error:
            raise UserError(f"accelerate cannot begin ({told(error)}); use precision=fp32 or device=cpu") from error
        kind = self.accelerator.distributed_type
        self.sharded = kind in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        if kind is DistributedType.DEEPSPEED:  # which asks a data loader, and there is none
            config = self.accelerator.state.deepspeed_plugin.deepspeed_config
            config["train_micro_batch_size_per_gpu"] = recipe.micro_batch
        self.main, self.rank = self.accelerator.is_main_process, self.accelerator.process_index
        self.processes = self.accelerator.num_processes
        self.model: Any = None
        self.optimiser: Any = None

    def prepare(self, loss: nn.Module) -> None:
        """Take the module whose forward pass gives the loss of a batch; its weights that have gradients are trained."""
        recipe = self.recipe
        trained = [weight for weight in loss.parameters() if weight.requires_grad]
        assert all(weight.dtype == torch.float32 for weight in trained)
        optimiser = torch.optim.AdamW(
            trained, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps, weight_decay=recipe.weight_decay
        )
        self.model, self.optimiser = self.accelerator.prepare(loss, optimiser)
        if not self.sharded:
            self.accelerator.register_save_state_pre_hook(_save_trained)
            self.accelerator.register_load_state_pre_hook(_load_trained)

    def step(self, batch: Tensor, lr: float, progress: Callable[[float], None]) -> float:
        """One optimiser step with token ids [batch, length] of all processes; the mean loss before it, nats. `progress`
        is called with the fraction that is done."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        mine = batch[self.rank :: self.processes]
        total = torch.zeros((), device=self.accelerator.device)
        for part, ids in enumerate(mine.split(self.recipe.micro_batch)):
            with self.accelerator.accumulate(self.model):
                loss = self.model(ids.to(self.accelerator.device))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and self.recipe.clip_norm is not None:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
                self.optimiser.step()
                self.optimiser.zero_grad()
            total += loss.detach() / self.accumulation
            progress((part + 1) / self.accumulation)
        return float(self.accelerator.reduce(total, reduction="mean"))

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true in all processes where it is in one."""
        if self.processes == 1:
            return flags
        counts = torch.tensor([float(flag) for flag in flags], device=self.accelerator.device)
        return tuple(bool(count) for count in self.accelerator.reduce(counts, reduction="sum"))

    def save(self, folder: Path) -> None:
        self.accelerator.save_state(str(folder))

    def load(self, folder: Path) -> None:
        """UserError when these states are of another number of processes or cannot be read."""
        try:
            self.accelerator.load_state(str(folder))
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"{folder} cannot be resumed ({told(error)}); delete it to start again") from error

    def weights(self) -> dict[str, Tensor] | None:
        """All weights of the model inside the loss, gathered from all processes; None where it holds them itself."""
        if self.processes == 1:
            return None
        gathered = self.accelerator.get_state_dict(self.model)
        return {name.removeprefix("model."): weight for name, weight in (gathered or {}).items()}

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Let a later tuning of this process have its own precision and accumulation."""
        from accelerate.state import AcceleratorState, GradientState

        self.accelerator.free_memory()
        if self.processes == 1:
            AcceleratorState._reset_state(True)
            GradientState._reset_state()


def _trained(model: Any) -> dict[str, Tensor]:
    inner = getattr(model, "module", model)
    return {name: weight.data for name, weight in inner.named_parameters() if weight.requires_grad}


def _save_trained(models: list[Any], weights: list[Any], folder: str) -> None:
    """In the place of all weights: frozen ones need no state, and tied ones stand here once."""
    from accelerate import PartialState
    from safetensors.torch import save_file

    weights.clear()
    if PartialState().is_main_process:
        save_file({name: weight.contiguous() for name, weight in _trained(models[0]).items()}, f"{folder}/{_TRAINED}")


def _load_trained(models: list[Any], folder: str) -> None:
    from safetensors.torch import load_file

    saved = load_file(f"{folder}/{_TRAINED}")
    with torch.no_grad():
        for name, weight in _trained(models.pop()).items():
            weight.copy_(saved[name])
