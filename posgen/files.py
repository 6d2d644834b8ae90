"""One split as a parquet file: a column `tokens` of lists, readable by anything that reads parquet. Where the answers
are not simply the next tokens (posgen.answers), a second column `labels` of equally long lists."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from posgen.errors import by_circumstances

COLUMN = "tokens"
LABELS = "labels"
# Tokens in one row group: what a reader has to hold at a time.
GROUP = 2**24


def checksum(tokens: np.ndarray) -> str:
    """sha256, in hex, of the tokens [N, L] as bytes: row-major, in their own dtype, little-endian."""
    canonical = np.ascontiguousarray(tokens, tokens.dtype.newbyteorder("<"))
    return hashlib.sha256(canonical.data).hexdigest()


def write(tokens: np.ndarray, file: Path, labels: np.ndarray | None = None) -> None:
    """Write tokens [N, L] of an unsigned dtype, and labels [N, L] if there are any. Raises OSError when the file cannot
    be written."""
    rows, length = tokens.shape
    columns = {COLUMN: tokens} if labels is None else {COLUMN: tokens, LABELS: labels}
    schema = pa.schema([(name, _column_type(values.dtype)) for name, values in columns.items()])
    group = max(1, GROUP // length)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, rows, group):
            lists = [_lists(values[start : start + group]) for values in columns.values()]
            writer.write_table(pa.table(lists, schema=schema), row_group_size=group)


def _lists(part: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, part.size + 1, part.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, part.reshape(-1), type=_column_type(part.dtype))


def _column_type(dtype: np.dtype) -> pa.DataType:
    """Lists without a fixed size: Hugging Face datasets wants one type for train and for the longer splits."""
    return pa.list_(pa.from_numpy_dtype(dtype))


def read(
    file: Path, rows: int, length: int, dtype: np.dtype, column: str = COLUMN, columns: tuple[str, ...] = (COLUMN,)
) -> np.ndarray:
    """Read tokens (or what else the column holds) [rows, length] of this dtype, from a file with these columns.

    Raises ValueError that says in what the file is damaged or differs from this description; OSError with an error
    number, or MemoryError, when the system does not let it be read.
    """
    try:
        return _read(file, rows, length, dtype, column, columns)
    except (pa.ArrowException, OSError) as error:
        if by_circumstances(error):
            raise
        raise ValueError(str(error)) from error


def _read(file: Path, rows: int, length: int, dtype: np.dtype, column: str, columns: tuple[str, ...]) -> np.ndarray:
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        if names != [*columns]:
            raise ValueError(f"it has the columns {names}, not {[*columns]}")
        index, expected, actual = columns.index(column), _column_type(dtype), parquet.schema_arrow.field(column).type
        if actual != expected:
            raise ValueError(f"its {column} are {actual}, not {expected}")
        if parquet.metadata.num_rows != rows:
            raise ValueError(f"it has {parquet.metadata.num_rows} sequences, not {rows}")
        groups = range(parquet.num_row_groups)
        held = sum(parquet.metadata.row_group(group).column(index).num_values for group in groups)
        if held != rows * length:  # before memory is taken for them
            raise ValueError(
                f"some of its {column} are missing or too many: its sequences do not have {length} {column}"
            )
        tokens = np.empty((rows, length), dtype)
        start = 0
        for group in groups:
            for part in parquet.read_row_group(group, use_threads=False).column(column).chunks:
                values = part.flatten()
                if part.null_count or values.null_count:
                    raise ValueError(f"some of its {column} are missing")
                if not np.all(part.value_lengths().to_numpy() == length):
                    raise ValueError(f"some of its sequences do not have {length} {column}")
                tokens[start : start + len(part)] = values.to_numpy().reshape(len(part), length)
                start += len(part)
    if start != rows:
        raise ValueError(f"it holds {start} sequences, not the {rows} that it announces")
    return tokens
