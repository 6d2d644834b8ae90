"""A data set on disk: generated once, checked at every use, written completely or not at all.

A folder `<task name>-<12 hex digits>` with train.parquet, validation.parquet, test.parquet and manifest.json.
"""

from __future__ import annotations

import math
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
from posgen.errors import BadValue, UserError, os_error_reason, os_error_remedy, require, shortened
from posgen.generate import BLOCK, Ticked, generate, nothing, token_dtype
from posgen.resources import dominant, free_disk, free_memory, reductions, size
from posgen.spec import DataSpec, Task
from posgen.splits import SPLITS, draw

# Sequences of each split that are generated again when a data set is loaded: this detects an h that was edited since.
SPOT_CHECK = 16


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits, tokens [N, L] in the smallest unsigned dtype, without BOS.

    train has train_length tokens a row, validation and test have test_length. `created` says whether this call wrote
    the files (True) or found them (False).
    """

    path: Path
    task: Task
    data: DataSpec
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    manifest: dict[str, Any]
    created: bool


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
    require(
        data.train_length > task.prefix_length,
        "train_length",
        data.train_length,
        f"use more than far + near = {task.prefix_length} tokens, or nothing is generated",
    )
    path = root / manifest.folder_name(task, data)
    leftovers.clear(path)
    if _occupied(path):
        _refuse_beyond(free_memory(), "memory", held_bytes, task, data)
        return _load_as_asked(path, task, data)
    _refuse_beyond(free_memory(), "memory", making_bytes, task, data)
    _refuse_beyond(free_disk(root), f"disk space for {root}", disk_bytes, task, data)
    tokens, documents = _generate(task, data, ticked)
    described = manifest.describe(task, data, tokens, documents)
    temporary = leftovers.beside(path)
    try:
        temporary.mkdir(parents=True)
        _write(tokens, described, temporary)
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
    return Dataset(path, task, data, **tokens, manifest=described, created=True)


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
    tokens = {split: _read_split(path, split, described["splits"][split]["sha256"], task, data) for split in SPLITS}
    return Dataset(path, task, data, **tokens, manifest=described, created=False)


def held_bytes(task: Task, data: DataSpec) -> int:
    """Memory of the three splits as a `Dataset` holds them."""
    return token_dtype(task.modulus).itemsize * sum(_tokens_of(data))


def making_bytes(task: Task, data: DataSpec) -> int:
    """Memory that generating and writing a data set takes: the splits, the prefixes, and the largest split once more,
    when it is read back."""
    width, rows = token_dtype(task.modulus).itemsize, data.train_size + data.validation_size + data.test_size
    return held_bytes(task, data) + rows * (4 * 8 + 2 * task.prefix_length * width) + width * max(_tokens_of(data))


def disk_bytes(task: Task, data: DataSpec) -> int:
    """Size of the files at the most: the bits of equally frequent tokens."""
    return int(sum(_tokens_of(data)) * math.log2(task.modulus) / 8)


def positions(data: DataSpec) -> int:
    """What `ticked` of `prepare` adds up to, about, when the data set is new."""
    return sum(-(-rows // BLOCK) * length for rows, length in map(data.shape, SPLITS))


def _tokens_of(data: DataSpec) -> list[int]:
    return [math.prod(data.shape(split)) for split in SPLITS]


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


def _write(tokens: dict[str, np.ndarray], described: dict[str, Any], folder: Path) -> None:
    """Write all files of a data set and read them back. Raises OSError."""
    for split in SPLITS:
        file = folder / f"{split}.parquet"
        files.write(tokens[split], file)
        rows, length = tokens[split].shape
        try:
            written = files.checksum(files.read(file, rows, length, tokens[split].dtype))
        except ValueError as error:
            raise OSError(f"{file.name} does not read back: {error}") from error
        if written != described["splits"][split]["sha256"]:
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
        sample = getattr(dataset, split)[:SPOT_CHECK]
        if not np.array_equal(generate(task, sample[:, : task.prefix_length], sample.shape[1]), sample):
            file = path / f"{split}.parquet"
            raise UserError(f"{file}: its sequences do not follow h={task.h}, was it edited since?; {_remedy(path)}")
    return dataset


def _read_split(path: Path, split: str, sha256: str, task: Task, data: DataSpec) -> np.ndarray:
    file = path / f"{split}.parquet"
    with _reading(file):
        if not _is_file(file):
            raise UserError(f"{file}: missing; {_remedy(path)}")
        try:
            tokens = files.read(file, *data.shape(split), token_dtype(task.modulus))
        except ValueError as error:
            raise UserError(f"{file}: damaged, {_one_line(error)}; {_remedy(path)}") from error
    if files.checksum(tokens) != sha256:
        raise UserError(f"{file}: damaged, its tokens do not have the sha256 of the manifest; {_remedy(path)}")
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
