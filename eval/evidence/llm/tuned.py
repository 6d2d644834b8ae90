"""Measurements of tuned models that may be compared with each other: of one base, tuned by one recipe on the same
batches, each under an encoding of its own and measured under that one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from eval.store.lm_kinds import PerplexityRecord
from models.lm.names import PLAIN, title

_WRITTEN = {"encoding", "factor", "recipe", "recipe_digest", "lora", "batches", "base"}


@dataclass(frozen=True)
class Own:
    """A measurement of a tuned model under the encoding that it was tuned with, by that encoding's name and factor,
    not as `none`, which it is to the model. `family` is equal where base, recipe and batches are."""

    record: PerplexityRecord
    family: Hashable


def own(record: PerplexityRecord) -> Own | None:
    """None where the model is not tuned by `posgen llm finetune`, or was measured under another encoding."""
    tuning = _tuning(record)
    if tuning is None:
        return None
    encoding, factor = str(tuning["encoding"]), float(tuning["factor"])
    if record.encoding != PLAIN and (record.encoding, record.factor) != (encoding, factor):
        return None
    family = (tuning["base"]["weights"], tuning["recipe_digest"], bool(tuning["lora"]), tuning["batches"])
    return Own(structs.replace(record, encoding=encoding, factor=factor), family)


def family_title(record: PerplexityRecord) -> str:
    """What all models of a tuned record's family are: the base, how it was tuned, and how far."""
    tuning = _tuning(record)
    assert tuning is not None
    name, described = str(tuning["base"]["name"]), _described(record)
    note = str(described.get("note", "")).partition(f"{title(tuning['encoding'])} s=")[0].rstrip(", ")
    way = "LoRA, " if tuning["lora"] else ""
    return f"{name}{f' ({note})' if note else ''}, tuned under each encoding ({way}{tuning['recipe']})"


def _tuning(record: PerplexityRecord) -> dict[str, Any] | None:
    """What `posgen llm finetune` wrote of the model; None of a model that it did not tune, or that says less."""
    tuning: dict[str, Any] = _described(record).get("tuning") or {}
    return tuning if tuning.keys() >= _WRITTEN else None


def _described(record: PerplexityRecord) -> dict[str, Any]:
    """The identity of the model, or of the adapter on it."""
    identity: dict[str, Any] = record.training.config.get("language_model") or {}
    return identity.get("adapter") or identity
