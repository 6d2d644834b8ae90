"""Measurements of tuned models that may be compared with each other: of one base, tuned by one recipe on the same
batches, each under an encoding of its own and measured under that one. Tunings that differ in the seed alone are
replicates, over which their losses are averaged."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from msgspec import structs

from eval.store.lm_kinds import PerplexityRecord
from models.lm.names import PLAIN, title

_WRITTEN = {"encoding", "factor", "recipe", "recipe_digest", "lora", "batches", "base"}


@dataclass(frozen=True)
class Own:
    """A measurement of a tuned model under the encoding that it was tuned with, by that encoding's name and factor,
    not as `none`, which it is to the model. `family` is equal where base and recipe are but for the seed. `seed` is
    that of the recipe's label, "" where it has none; `recipe` and `batches` are digests."""

    record: PerplexityRecord
    family: Hashable
    seed: str
    recipe: str
    batches: str


@dataclass(frozen=True)
class Family:
    """Records to compare, averaged over all replicates that have every encoding; `left_out`: how many have not."""

    records: tuple[PerplexityRecord, ...]
    title: str
    left_out: int = 0


def own(record: PerplexityRecord) -> Own | None:
    """None where the model is not tuned by `posgen llm finetune`, or was measured under another encoding."""
    tuning = _tuning(record)
    if tuning is None:
        return None
    encoding, factor = str(tuning["encoding"]), float(tuning["factor"])
    if record.encoding != PLAIN and (record.encoding, record.factor) != (encoding, factor):
        return None
    label, seed = _without_seed(str(tuning["recipe"]))
    family = (tuning["base"]["weights"], label, bool(tuning["lora"]))
    shown = structs.replace(record, encoding=encoding, factor=factor)
    return Own(shown, family, seed, str(tuning["recipe_digest"]), str(tuning["batches"]))


def families(measured: Iterable[Own]) -> list[Family]:
    """Of the measurements of one family: a family of all replicates that have every encoding, averaged; each replicate
    for itself where none has, or where not all differ in seed and batches: then recipe or texts have changed, or the
    same batches are there twice."""
    replicates: dict[Hashable, list[Own]] = {}
    for entry in measured:
        replicates.setdefault((entry.recipe, entry.batches), []).append(entry)
    groups = list(replicates.values())
    encodings = {entry.record.encoding for group in groups for entry in group}
    whole = [group for group in groups if {entry.record.encoding for entry in group} == encodings]
    distinct = min(len({group[0].seed for group in groups}), len({group[0].batches for group in groups}))
    if not whole or distinct < len(groups):
        return [Family(_records(group), _title(group[0])) for group in groups]
    averaged = _mean(list(map(_records, whole)))
    return [Family(averaged, _title(whole[0][0], len(whole)), len(groups) - len(whole))]


def _records(group: Sequence[Own]) -> tuple[PerplexityRecord, ...]:
    return tuple(entry.record for entry in group)


def _mean(replicates: Sequence[Sequence[PerplexityRecord]]) -> tuple[PerplexityRecord, ...]:
    """Losses averaged over replicates, of the passes that all of them have."""
    tables = [{(r.encoding, r.document_sha, r.length): r for r in records} for records in replicates]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return tuple(_merged([table[key] for table in tables]) for key in shared)


def _merged(same: Sequence[PerplexityRecord]) -> PerplexityRecord:
    first = same[0]
    at = [
        structs.replace(told[0], nll=_average([a.nll for a in told]), window_nll=_average([a.window_nll for a in told]))
        for told in zip(*(record.at for record in same), strict=True)
    ]
    nll = tuple(_average(values) for values in zip(*(record.nll for record in same), strict=True))
    return structs.replace(first, nll=nll, at=tuple(at))


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _title(entry: Own, seeds: int = 1) -> str:
    """What all models of a family are: the base, how it was tuned, and how far."""
    tuning = _tuning(entry.record)
    assert tuning is not None
    name, described = str(tuning["base"]["name"]), _described(entry.record)
    note = str(described.get("note", "")).partition(f"{title(tuning['encoding'])} s=")[0].rstrip(", ")
    way = "LoRA, " if tuning["lora"] else ""
    label = str(tuning["recipe"])
    recipe = label if seeds == 1 else f"{_without_seed(label)[0]}, mean of {seeds} seeds"
    return f"{name}{f' ({note})' if note else ''}, tuned under each encoding ({way}{recipe})"


def _without_seed(label: str) -> tuple[str, str]:
    """A recipe's label (conf.finetuning.Recipe.label) without its seed, and the seed: ("tuned, 6 %", "seed=1") of
    "tuned with seed=1, 6 %"."""
    head, found, rest = label.rpartition(" with ")
    parts = rest.split(", ")
    seeds = [part for part in parts if part.startswith("seed=")]
    if not found or not seeds:
        return label, ""
    settings = [part for part in parts if part not in seeds]
    changed = any("=" in part for part in settings)
    return f"{head}{' with ' if changed else ', '}{', '.join(settings)}", seeds[0]


def _tuning(record: PerplexityRecord) -> dict[str, Any] | None:
    """What `posgen llm finetune` wrote of the model; None of a model that it did not tune, or that says less."""
    tuning: dict[str, Any] = _described(record).get("tuning") or {}
    return tuning if tuning.keys() >= _WRITTEN else None


def _described(record: PerplexityRecord) -> dict[str, Any]:
    """The identity of the model, or of the adapter on it."""
    identity: dict[str, Any] = record.training.config.get("language_model") or {}
    return identity.get("adapter") or identity
