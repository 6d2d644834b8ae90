"""What a data set takes in memory and on the disk, before it is made."""

from __future__ import annotations

import math

from posgen.answers import label_dtype, labelled
from posgen.generate import BLOCK, token_dtype
from posgen.spec import DataSpec, Task
from posgen.splits import SPLITS


def held_bytes(task: Task, data: DataSpec) -> int:
    """Memory of the three splits as a `Dataset` holds them."""
    return _width(task) * sum(_tokens_of(data))


def making_bytes(task: Task, data: DataSpec) -> int:
    """Memory that generating and writing a data set takes: the splits, the prefixes, and the largest split once more,
    when it is read back."""
    width, rows = token_dtype(task.modulus).itemsize, data.train_size + data.validation_size + data.test_size
    prefixes = rows * (4 * 8 + 2 * task.drawn_length * width)
    return held_bytes(task, data) + prefixes + _width(task) * max(_tokens_of(data))


def disk_bytes(task: Task, data: DataSpec) -> int:
    """Size of the files at the most: the bits of equally frequent tokens, and of as many labels where there are."""
    columns = 2 if labelled(task) else 1
    return int(columns * sum(_tokens_of(data)) * math.log2(task.modulus) / 8)


def positions(data: DataSpec) -> int:
    """What `ticked` of posgen.dataset.prepare adds up to, about, when the data set is new."""
    return sum(-(-rows // BLOCK) * length for rows, length in map(data.shape, SPLITS))


def _tokens_of(data: DataSpec) -> list[int]:
    return [math.prod(data.shape(split)) for split in SPLITS]


def _width(task: Task) -> int:
    """Bytes of a token, and of its label where there is one."""
    return token_dtype(task.modulus).itemsize + (label_dtype(task.modulus).itemsize if labelled(task) else 0)
