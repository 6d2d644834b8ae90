"""A tuning as it is asked, and what is written when it has ended: the model's folder and its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from conf.finetuning import Recipe
from conf.schema import TrackerSpec
from eval.running.llm.tuned import describe, write_result
from eval.store import records
from eval.store.kinds import Training
from eval.store.lm_kinds import AdaptationRecord, language_model_run_id
from eval.store.provenance import maker
from models.hf import save_rope
from models.hf.finding import model_of
from models.lm.loading import LanguageModel, weights_digest
from models.lm.ropes import title
from posgen.plain import digest, plain


@dataclass(frozen=True)
class Tuning:
    """What is asked. `model`: a folder or hub name; `texts`: a file or folder, `leave_out` file names there without
    suffix; `rope`: a name of models.lm.ropes with its `factor` and `params`; `save_seconds` between saved states."""

    model: str
    texts: Path
    recipe: Recipe
    rope: str
    factor: float
    out: Path
    records: Path
    params: dict[str, Any] = field(default_factory=dict)
    lora: bool = False
    leave_out: tuple[str, ...] = ()
    text_field: str | None = None
    device: str = "cpu"
    threads: int | None = None
    tracker: TrackerSpec = field(default_factory=TrackerSpec)
    save_seconds: float = 300.0


@dataclass(frozen=True)
class Tuned:
    """`status`: finished, interrupted or there (from an earlier call). `resumed`: the step it went on from."""

    status: str
    losses: tuple[float, ...]
    seconds: float
    resumed: int = 0
    signal: int | None = None
    record: AdaptationRecord | None = None


def finish(
    tuning: Tuning, weights: dict[str, Tensor] | None, base: LanguageModel, model: Any, asked: dict[str, Any],
    rope: dict[str, Any], train_length: int, ended: Tuned,
) -> AdaptationRecord:  # fmt: skip
    """Write the model and its record. `weights`: where the model does not hold them all itself."""
    recipe = tuning.recipe
    result = {"losses": list(ended.losses), "seconds": ended.seconds, "tokens": recipe.tokens}
    described = {
        "recipe": recipe.label, "recipe_digest": recipe.digest, "steps": recipe.steps, "tokens": recipe.tokens,
        "encoding": tuning.rope, "factor": tuning.factor, "lora": tuning.lora, "batches": asked["batches"],
        "texts": sorted(asked["documents"]), "base": {key: base.identity[key] for key in ("name", "weights")},
    }  # fmt: skip
    words = [base.identity.get("note"), f"{title(tuning.rope)} s={tuning.factor:g}", "LoRA" if tuning.lora else None]
    note = {"name": tuning.out.name, "note": ", ".join([*filter(None, words), recipe.label]), "tuning": described}
    made: list[AdaptationRecord] = []

    def write(folder: Path) -> None:
        extra = {"save_embedding_layers": False} if tuning.lora else {}
        model.save_pretrained(folder, state_dict=weights, **extra)
        base.tokenizer.save_pretrained(folder)
        model_of(model).config.save_pretrained(folder)
        save_rope(model, folder)
        made.append(_record(tuning, base, asked, rope, train_length, ended, folder))
        records.append(tuning.records, made)

    write_result(tuning.out, write, note)
    describe(tuning.out, asked, result)
    return made[0]


def _record(
    tuning: Tuning, base: LanguageModel, asked: dict[str, Any], rope: dict[str, Any], train_length: int, ended: Tuned,
    folder: Path,
) -> AdaptationRecord:  # fmt: skip
    recipe, here = tuning.recipe, maker(tuning.device)
    config = {
        "language_model": base.identity,
        "profile": {"name": recipe.name, "label": recipe.label},
        "tuning": {key: asked[key] for key in ("documents", "batches", "processes", "lora")},
        "packages": {name: version(name) for name in ("transformers", "accelerate", "peft")},
        "command": {"texts": tuning.texts.name, "leave_out": list(tuning.leave_out), "params": tuning.params},
    }
    return AdaptationRecord(
        run_id=language_model_run_id(digest(base.identity), rope),
        sweep="llm finetune",
        profile=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        measured_by=here,
        training=Training(config, (here,)),
        model=base.name,
        model_key=base.key,
        encoding=tuning.rope,
        rope=rope,
        factor=tuning.factor,
        train_length=train_length,
        dtype=recipe.precision,
        protocol=plain(recipe),
        recipe=recipe.label,
        recipe_digest=recipe.digest,
        lora=tuning.lora,
        batches=asked["batches"],
        tokens=recipe.tokens,
        losses=ended.losses,
        tuned=tuning.out.name,
        weights=weights_digest(folder),
        seconds=round(ended.seconds, 3),
    )
