"""What fine-tuning and measuring a model would take, and what else there is where it does not fit: numbers for
`posgen llm plan`, by the arithmetic of models.lm.costs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from conf.finetuning import Recipe
from conf.language_models import Device, device, published_sizes
from models.lm.costs import OPTIMISER, Memory, measuring_memory, step_flops, tuning_memory
from models.lm.sizes import Sizes
from posgen.errors import BadValue, UserError, nearest, told
from posgen.resources import free_memory

_MOST_DEVICES = 64


@dataclass(frozen=True)
class Plan:
    """Bytes, operations and seconds. `room`: bytes of one device, None where not known. `alternatives`: (what, bytes on
    each device, how it is done)."""

    model: str
    sizes: Sizes
    recipe: Recipe
    lora: bool
    device: Device
    room: float | None
    teraflops: float
    documents: int
    tuning: Memory
    measuring: Memory
    alternatives: tuple[tuple[str, float, str], ...]

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        return self.sizes.adapter_parameters(self.recipe.lora_rank) if self.lora else self.sizes.parameters

    @property
    def step_flops(self) -> float:
        recipe = self.recipe
        return step_flops(
            self.sizes, recipe.length, recipe.batch, lora=self.lora, checkpointing=recipe.checkpointing
        )  # fmt: skip

    @property
    def tuning_flops(self) -> float:
        return self.step_flops * self.recipe.steps

    @property
    def pass_flops(self) -> float:
        return self.sizes.forward_flops(self.recipe.length)

    @property
    def step_seconds(self) -> float:
        return self.step_flops / (1e12 * self.teraflops)

    @property
    def tuning_seconds(self) -> float:
        return self.step_seconds * self.recipe.steps

    @property
    def pass_seconds(self) -> float:
        return self.pass_flops / (1e12 * self.teraflops)

    @property
    def measuring_seconds(self) -> float:
        return self.pass_seconds * self.documents


def sizes_of(model: str) -> Sizes:
    """Of a published size by name, or of a folder's config.json (or that file). BadValue where there is neither."""
    known = published_sizes()
    if model in known:
        return known[model]
    place = Path(model)
    file = place / "config.json" if place.is_dir() else place
    if not file.is_file():
        raise BadValue(
            "model", model, f"is neither a folder with a config.json nor a known size; {nearest(model, known)}"
        )
    from transformers import AutoConfig

    import models.hf  # noqa: F401 - its rope types may stand in the file

    try:
        json.loads(file.read_text(encoding="utf-8"))
        config = AutoConfig.from_pretrained(str(file))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model={model}: transformers cannot read {file} ({told(error)}); name another") from error
    return Sizes.of(config.get_text_config(decoder=True))


def make_plan(
    model: str, sizes: Sizes, recipe: Recipe, lora: bool, name: str, teraflops: float | None, documents: int
) -> Plan:
    """The plan of a recipe on one device of conf/llm/devices.yaml."""
    where = device(name)
    free = free_memory() if where.gigabytes is None else None
    room = None if where.gigabytes is None and free is None else float(free or 1e9 * (where.gigabytes or 0))
    tuning = _tuning(sizes, recipe, lora)
    return Plan(
        model, sizes, recipe, lora, where, room, teraflops or where.teraflops, documents, tuning,
        measuring_memory(sizes, recipe.length, 1), tuple(_alternatives(sizes, recipe, lora, tuning, room)),
    )  # fmt: skip


def _tuning(sizes: Sizes, recipe: Recipe, lora: bool, moments: int = OPTIMISER) -> Memory:
    return tuning_memory(
        sizes, recipe.length, recipe.micro_batch, lora_rank=recipe.lora_rank if lora else None,
        base_bytes=2 if lora else 4, checkpointing=recipe.checkpointing, moments=moments,
        product_bytes=2 if recipe.precision == "bf16" else 4,
    )  # fmt: skip


def _alternatives(
    sizes: Sizes, recipe: Recipe, lora: bool, tuning: Memory, room: float | None
) -> list[tuple[str, float, str]]:
    found = []
    if not lora:
        adapter = _tuning(sizes, recipe, True)
        found.append(("LoRA on bf16 weights", adapter.total, "--lora base_precision=bf16"))
        offloaded = tuning.total - tuning.moments - tuning.gradients - tuning.weights + 4.0 * sizes.parameters
        how = "DeepSpeed ZeRO offload: bf16 weights and gradients here, fp32 weights and moments in the CPU's memory"
        found.append(("optimiser on the CPU", offloaded, f"{how} ({12e-9 * sizes.parameters:,.0f} GB)"))
        eight = _tuning(sizes, recipe, False, moments=2)
        found.append(
            ("8-bit moments", eight.total, "bitsandbytes; posgen llm finetune has none: a lower bound to compare")
        )
    rest = tuning.total - tuning.states
    if room is not None and rest < room:
        count = math.ceil(tuning.states / (room - rest))
        if 1 < count <= _MOST_DEVICES:
            how = "FSDP: accelerate launch shards weights, gradients and moments"
            found.append((f"{count} devices", rest + tuning.states / count, how))
    return found
