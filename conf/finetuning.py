"""Recipes of fine-tuning a language model: conf/llm/finetune/*.yaml as typed, checked values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from conf import files
from conf.overrides import parse
from posgen.errors import BadValue, UserError, nearest, require, shortened
from posgen.plain import digest, plain, restore

GROUP = "llm/finetune"
PAPER_TOKENS = 104_857_600
"""Tokens of the paper's fine-tuning, in each of its rows: 50 x 64 x 32,768 = 100 x 64 x 16,384 = 400 x 64 x 4,096."""
PRECISIONS = ("bf16", "fp32")


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned. The YAML files say what each field is; lengths are tokens, batches sequences."""

    name: str
    title: str
    steps: int
    batch: int
    micro_batch: int
    length: int
    block: int | None
    separators: str
    repeat: bool
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    warmup: float
    schedule: str
    clip_norm: float | None
    precision: str
    base_precision: str
    checkpointing: bool
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro_batch", "lora_rank"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use at least 1")
        require(2 <= self.length <= 2**24, "length", self.length, "use 2 to 16777216 tokens")
        if self.block is not None:
            require(self.block >= self.length, "block", self.block, f"use at least length={self.length}, or null")
        multiple = self.batch % self.micro_batch == 0
        require(multiple, "batch", self.batch, f"use a multiple of micro_batch={self.micro_batch}")
        require(0.0 < self.lr <= 1.0, "lr", self.lr, "use 0 < lr <= 1")
        for name in ("beta1", "beta2"):
            require(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "use at least 0 and less than 1")
        require(0.0 < self.eps < 1.0, "eps", self.eps, "use 0 < eps < 1")
        require(0.0 <= self.weight_decay < 1.0, "weight_decay", self.weight_decay, "use at least 0, less than 1")
        require(0.0 <= self.warmup < 1.0, "warmup", self.warmup, "use a fraction of the steps, at least 0, less than 1")
        clipped = self.clip_norm is None or self.clip_norm > 0.0
        require(clipped, "clip_norm", self.clip_norm, "use a number above 0, or null for no clipping")
        require(self.lora_alpha > 0.0, "lora_alpha", self.lora_alpha, "use a number above 0")
        require(0.0 <= self.lora_dropout < 1.0, "lora_dropout", self.lora_dropout, "use at least 0, less than 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")
        for name, known in (
            ("separators", ("bos_eos", "eos", "none")),
            ("schedule", ("linear", "constant")),
            ("precision", PRECISIONS),
            ("base_precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise BadValue(name, getattr(self, name), nearest(getattr(self, name), known))

    @cached_property
    def digest(self) -> str:
        """12 hex digits of all settings."""
        return digest(plain(self))

    @property
    def sequences(self) -> int:
        """Sequences that all steps take together."""
        return self.steps * self.batch

    @property
    def tokens(self) -> int:
        """Tokens that all steps take together."""
        return self.sequences * self.length

    @property
    def share(self) -> str:
        """How its tokens compare with the paper's: `0.195 % of the paper's tokens`."""
        return f"{100 * self.tokens / PAPER_TOKENS:.3g} % of the paper's tokens"

    @property
    def label(self) -> str:
        """What stands beside every number of a model tuned by it: `short adaptation, 0.195 % of the paper's tokens`."""
        return f"{self.title}, {self.share}"

    @property
    def warmup_steps(self) -> int:
        """Steps over which the learning rate rises."""
        return round(self.warmup * self.steps)

    def learning_rate(self, step: int) -> float:
        """Of the step that comes after `step` others, as transformers' linear and constant schedules with warm-up have
        it: the first step of a warm-up has 0."""
        rising = self.warmup_steps
        if step < rising:
            return self.lr * step / max(1, rising)
        if self.schedule == "constant":
            return self.lr
        return self.lr * max(0.0, (self.steps - step) / max(1, self.steps - rising))


def names() -> list[str]:
    """The recipes that there are."""
    return [file.stem for file in files.group(GROUP)]


def recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name with settings such as `length=512`, in Hydra's grammar. Changed, its title says so.

    Raises BadValue or UserError, one line, for an unknown name or key, or a value of the wrong type or out of range.
    """
    if name not in names():
        raise BadValue("recipe", name, nearest(name, names()))
    file = files.FOLDER / GROUP / f"{name}.yaml"
    values = files.load(file)
    if wrong := sorted(values.keys() ^ set(keys())):
        raise UserError(f"{file}: {wrong[0]} is missing or unknown; restore the file")
    changed: list[str] = []
    for argument in overrides:
        key, value = _setting(argument)
        if any(each.partition("=")[0] == key for each in changed):
            raise UserError(f"{shortened(argument)}: {key} is given twice; give it once")
        values[key] = _converted(key, value, argument.partition("=")[2].strip())
        changed.append(f"{key}={values[key]}")
    if changed:
        values["title"] = f"{values['title']} with {', '.join(sorted(changed))}"
    made: Recipe = restore(Recipe, values, name)
    return made


def keys() -> list[str]:
    return [field.name for field in dataclasses.fields(Recipe)]


def _setting(argument: str) -> tuple[str, Any]:
    override = parse(argument)
    key, text = override.key_or_group, argument.partition("=")[2].strip()
    settable = [name for name in keys() if name not in ("name", "title")]
    if key not in settable:
        raise BadValue(key, text, nearest(key, settable))
    if override.is_sweep_override():
        raise BadValue(key, text, "give one value")
    return key, override.value()


def _converted(key: str, value: Any, text: str) -> Any:
    """The value as the field's type has it; BadValue where it is none."""
    import typing

    try:
        return restore(typing.get_type_hints(Recipe)[key], value, key)
    except (TypeError, ValueError) as error:
        raise BadValue(key, text, str(error).removeprefix(f"{key} ")) from None
