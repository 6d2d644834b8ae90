"""A data set on disk: generated once, checked at every use, written completely or not at all.

A folder `<task name>-<12 hex digits>` with train.parquet, validation.parquet, test.parquet and manifest.json.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posgen import files, leftovers, manifest, texts
from posgen.answers import label_dtype, labelled, labels
from posgen.data_size import disk_bytes, held_bytes, making_bytes
from posgen.errors import BadValue, UserError, os_error_reason, os_error_remedy, require, shortened
from posgen.generate import Ticked, generate, nothing, token_dtype
from posgen.resources import dominant, free_disk, free_memory, reductions, size
from posgen.spec import DataSpec, Task
from posgen.splits import SPLITS, check_length, draw

# Sequences of each split that are generated again when a data set is loaded: this detects an h that was edited since.
SPOT_CHECK = 16


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits, tokens [N, L] in the smallest unsigned dtype, without BOS.

    train has train_length tokens a row, validation and test have test_length. `created` says whether this call wrote
    the files (True) or found them (False). `labels` (posgen.answers.labels) by split, [N, L] as well; None for a task
    whose answers are all tokens after the seed.
    """

    path: Path
    task: Task
    data: DataSpec
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    manifest: dict[str, Any]
    created: bool
    labels: dict[str, np.ndarray] | None = None


def prepare(task: Task, data: DataSpec, root: Path, ticked: Ticked = nothing) -> Dataset:
    """The data set of this task and data below `root`: found and checked, or generated, written and checked.

    A data set that is there is never touched. A new one is built beside its place and moved there whole, so that an
    interruption leaves nothing and two processes at once both end with the same good files. Raises `UserError`
    when the parameters do not fit together, when the data set does not fit into memory or onto the disk, when the
    folder holds something else or is damaged, or cannot be written.
    """
    require(
        re.fullmatch(r"\w[\w.+-]{0,99}", task.name) is not None,
        "name",
        task.name,
        "use letters, digits and _ - + . only: it names the data set's folder",
    )
    check_length(task, data)
    path = root / manifest.folder_name(task, data)
    leftovers.clear(path)
    if _occupied(path):
        _refuse_beyond(free_memory(), "memory", held_bytes, task, data)
        return _load_as_asked(path, task, data)
    _refuse_beyond(free_memory(), "memory", making_bytes, task, data)
    _refuse_beyond(free_disk(root), f"disk space for {root}", disk_bytes, task, data)
    tokens, documents = _generate(task, data, ticked)
    asked = {split: labels(task, tokens[split]) for split in SPLITS} if labelled(task) else None
    described = manifest.describe(task, data, tokens, documents, asked)
    temporary = leftovers.beside(path)
    try:
        temporary.mkdir(parents=True)
        _write(tokens, asked, described, temporary)
        try:
            temporary.replace(path)
        except OSError:
            if not _occupied(path):
                raise
            return _load_as_asked(path, task, data)  # another process was faster
    except (OSError, MemoryError) as error:
        remedy = os_error_remedy(error, "paths.data=DIR")
        raise UserError(f"{path}: the data set cannot be written ({os_error_reason(error)}); {remedy}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Dataset(path, task, data, **tokens, manifest=described, created=True, labels=asked)


def load(path: Path) -> Dataset:
    """Read the data set in this folder and check it against its manifest.

    Raises `UserError` that names the file and the remedy when there is none, or it is damaged or somebody else's.
    """
    if not _occupied(path):
        raise UserError(f"{path}: there is no data set here; make it with posgen generate")
    file = path / manifest.FILE
    with _reading(file):
        if not _is_file(file):
            raise UserError(f"{path}: not a PosGen data set, it has no {manifest.FILE}; {_remedy(path)}")
        try:
            described, task, data = manifest.read(file)
        except ValueError as error:
            raise UserError(f"{file}: {_one_line(error)}; {_remedy(path)}") from error
    tokens = {split: _read_split(path, split, files.COLUMN, described, task, data) for split in SPLITS}
    asked = None
    if labelled(task):
        asked = {split: _read_split(path, split, files.LABELS, described, task, data) for split in SPLITS}
    return Dataset(path, task, data, **tokens, manifest=described, created=False, labels=asked)


def _refuse_beyond(
    free: int | None, what: str, need: Callable[[Task, DataSpec], int], task: Task, data: DataSpec
) -> None:
    """Raise BadValue that names the setting which matters most where a data set needs more than is free."""
    needed = need(task, data)
    if free is None or needed <= free:
        return
    key, value = dominant(lambda smaller: need(task, smaller), reductions(data))
    remedy = f"the data set needs about {size(needed)} of {what} and {size(free)} are free: use a smaller value"
    raise BadValue(f"data.{key}", value, remedy)


def _generate(
    task: Task, data: DataSpec, ticked: Ticked
) -> tuple[dict[str, np.ndarray], dict[str, list[dict[str, Any]]] | None]:
    """(tokens by split, of a text which documents each split comes from)."""
    if task.is_text:
        return texts.cut(task, data)
    prefixes = draw(task, data)
    return {split: generate(task, prefixes[split], data.shape(split)[1], ticked) for split in SPLITS}, None


def _write(
    tokens: dict[str, np.ndarray], asked: dict[str, np.ndarray] | None, described: dict[str, Any], folder: Path
) -> None:
    """Write all files of a data set and read them back. Raises OSError."""
    for split in SPLITS:
        file = folder / f"{split}.parquet"
        columns = {files.COLUMN: tokens[split]} | ({} if asked is None else {files.LABELS: asked[split]})
        files.write(tokens[split], file, *([] if asked is None else [asked[split]]))
        for name, values in columns.items():
            try:
                read = files.read(file, len(values), values.shape[1], values.dtype, name, tuple(columns))
                written = files.checksum(read)
            except ValueError as error:
                raise OSError(f"{file.name} does not read back: {error}") from error
            if written != described["splits"][split][_SUM[name]]:
                raise OSError(f"{file.name} reads back differently from what was written")
    manifest.write(described, folder / manifest.FILE)


def _load_as_asked(path: Path, task: Task, data: DataSpec) -> Dataset:
    """The data set at this path, provided that it is the one that was asked for."""
    dataset = load(path)
    wanted, stored = manifest.identity(task, data), manifest.identity(dataset.task, dataset.data)
    differing = [
        f"{key}={shortened(stored.get(key, ''))} instead of {wanted.get(key, '')}"
        for key in dict.fromkeys([*wanted, *stored])
        if wanted.get(key) != stored.get(key)
    ]
    if differing:
        file = path / manifest.FILE
        raise UserError(f"{file}: made with other parameters ({', '.join(differing)}); {_remedy(path)}")
    if task.is_text:
        return dataset  # the identity of its files was compared above, and the checksums when it was read
    for split in SPLITS:
        if not follows(dataset, split):
            file = path / f"{split}.parquet"
            raise UserError(f"{file}: its sequences do not follow h={task.h}, was it edited since?; {_remedy(path)}")
    return dataset


def follows(dataset: Dataset, split: str) -> bool:
    """Whether the first `SPOT_CHECK` sequences of a split, and their labels, are what the present rule and h give. Not
    for a text."""
    task, sample = dataset.task, getattr(dataset, split)[:SPOT_CHECK]
    if not np.array_equal(generate(task, sample[:, : task.drawn_length], sample.shape[1]), sample):
        return False
    return dataset.labels is None or np.array_equal(labels(task, sample), dataset.labels[split][:SPOT_CHECK])


_SUM = {files.COLUMN: "sha256", files.LABELS: "labels_sha256"}
"""Where the manifest has the checksum of a column."""


def _read_split(
    path: Path, split: str, column: str, described: dict[str, Any], task: Task, data: DataSpec
) -> np.ndarray:
    columns = (files.COLUMN, files.LABELS) if labelled(task) else (files.COLUMN,)
    dtype = token_dtype(task.modulus) if column == files.COLUMN else label_dtype(task.modulus)
    file = path / f"{split}.parquet"
    with _reading(file):
        if not _is_file(file):
            raise UserError(f"{file}: missing; {_remedy(path)}")
        try:
            tokens = files.read(file, *data.shape(split), dtype, column, columns)
        except ValueError as error:
            raise UserError(f"{file}: damaged, {_one_line(error)}; {_remedy(path)}") from error
    if files.checksum(tokens) != described["splits"][split][_SUM[column]]:
        raise UserError(f"{file}: damaged, its {column} do not have the sha256 of the manifest; {_remedy(path)}")
    return tokens


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Tell what the system refuses (permission, memory, open files) as what it is: the file may be whole."""
    try:
        yield
    except (OSError, MemoryError) as error:
        remedy = os_error_remedy(error, "paths.data=DIR")
        raise UserError(f"{file}: cannot be read ({os_error_reason(error)}); {remedy}") from error


def _is_file(path: Path) -> bool:
    """Whether there is a file. Raises OSError where the system does not tell."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _occupied(path: Path) -> bool:
    """Whether anything is there. An empty folder counts as nothing, one that cannot be read as something."""
    if not os.path.isdir(path):
        return os.path.lexists(path)
    try:
        return any(path.iterdir())
    except OSError:
        return True


def _remedy(path: Path) -> str:
    return f"move {path} elsewhere and run posgen generate again"


def _one_line(error: Exception) -> str:
    """An exception in one line."""
    return " ".join(str(error).split())
