"""manifest.json: what a data set is, which code wrote it, and the checksum of every split."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from posgen import __version__
from posgen.answers import NOT_SCORED, labelled
from posgen.errors import shortened
from posgen.files import checksum
from posgen.plain import digest, plain, restore
from posgen.plain import identity as neutral_free
from posgen.spec import DataSpec, Task
from posgen.splits import SPLITS

FORMAT = "posgen"
# Raise it when the same parameters would give other tokens or other files.
FORMAT_VERSION = 1
FILE = "manifest.json"
_KEYS = {"format", "format_version", "posgen_version", "task", "data", "splits", "documents", "digest"}


def describe(
    task: Task,
    data: DataSpec,
    tokens: dict[str, np.ndarray],
    documents: dict[str, list[dict[str, Any]]] | None = None,
    labels: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The manifest of these splits, as what JSON can hold. tokens: split -> [N, L]. `documents`: of a text, the files
    that each split was cut from. `labels`: of a task that has them, split -> [N, L]."""
    splits = {
        split: {
            "file": f"{split}.parquet",
            "rows": len(tokens[split]),
            "length": tokens[split].shape[1],
            "dtype": tokens[split].dtype.name,
            "sha256": checksum(tokens[split]),
            **({} if labels is None else _of_labels(labels[split])),
        }
        for split in SPLITS
    }
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "posgen_version": __version__,
        "task": _of_task(task),
        "data": plain(data),
        "splits": splits,
        **({} if documents is None else {"documents": documents}),
    }


def _of_labels(labels: np.ndarray) -> dict[str, Any]:
    return {"labels_dtype": labels.dtype.name, "labels_not_scored": NOT_SCORED, "labels_sha256": checksum(labels)}


def _of_task(task: Task) -> dict[str, Any]:
    """The task's fields; those of a text, and those that came later, only where they say something, so that the
    manifest of a rule's data set is what it was."""
    fields, telling = plain(task), neutral_free(task)
    kept = {key: value for key, value in fields.items() if key in telling or key not in ("gap", "answers")}
    return {key: value for key, value in kept.items() if task.is_text or key not in ("corpus", "texts")}


def identity(task: Task, data: DataSpec) -> dict[str, Any]:
    """Everything that decides the tokens, flat. The task's name is a label and decides nothing."""
    rest = {key: value for key, value in neutral_free(task).items() if key != "name"}
    return {"format_version": FORMAT_VERSION, **rest, **neutral_free(data)}


def folder_name(task: Task, data: DataSpec) -> str:
    """The name of the data set's folder: the task's name and 12 hex digits of its identity."""
    return f"{task.name}-{digest(identity(task, data))}"


def write(manifest: dict[str, Any], file: Path) -> None:
    """Write a manifest, with a digest of itself. Raises OSError."""
    file.write_text(json.dumps({**manifest, "digest": digest(manifest)}, indent=2) + "\n", encoding="utf-8")


def read(file: Path) -> tuple[dict[str, Any], Task, DataSpec]:
    """A manifest, without its digest, and the task and data it describes. Older ones have no digest.

    Raises ValueError when it is not a manifest of this format, does not have its digest, or its parts contradict each
    other, OSError.
    """
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not readable JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("it is not the manifest of a PosGen data set")
    if manifest.get("format_version") != FORMAT_VERSION:
        version = shortened(manifest.get("format_version"))
        raise ValueError(f"it has format version {version}, this posgen reads {FORMAT_VERSION}")
    unknown = sorted(manifest.keys() - _KEYS)
    if unknown:
        raise ValueError(f"{shortened(unknown[0])} is not known")
    written = manifest.pop("digest", None)
    if written is not None and written != digest(manifest):
        raise ValueError("it does not have its digest")
    try:
        task: Task = restore(Task, manifest["task"], "task")
        data: DataSpec = restore(DataSpec, manifest["data"], "data")
        splits = restore(dict[str, Any], manifest["splits"], "splits")
        for split in SPLITS:
            _check_split(split, splits[split], task, data)
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except TypeError as error:
        raise ValueError(f"one of its fields is of a wrong kind ({error})") from error
    return manifest, task, data


def _check_split(split: str, entry: Any, task: Task, data: DataSpec) -> None:
    """What the manifest says of one split, against its own parameters. Raises KeyError, TypeError or ValueError."""
    restore(dict[str, Any], entry, split)
    rows, length = (restore(int, entry[key], f"{split}.{key}") for key in ("rows", "length"))
    for key in ("sha256", "labels_sha256") if labelled(task) else ("sha256",):
        if not re.fullmatch("[0-9a-f]{64}", restore(str, entry[key], f"{split}.{key}")):
            raise ValueError(f"{split}.{key} is not 64 hex digits")
    if (rows, length) != data.shape(split):
        raise ValueError(f"what it says about {split} contradicts its own parameters")
