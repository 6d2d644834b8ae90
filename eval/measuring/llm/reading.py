"""Texts on disk: which files hold them, and the text or token ids of each document.

A document is a text file, a line of JSON, or a row of a Parquet or Arrow table. Its text, or its ids where it is
tokenised already, is a column that is named or guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posgen.errors import BadValue, UserError, os_error_reason, told

TEXT_FIELDS = ("text", "input", "report", "content")
IDS_FIELDS = ("input_ids",)
SUFFIXES = ("txt", "jsonl", "parquet", "arrow")


def files(path: Path) -> list[Path]:
    """The files of texts at this path: itself, those of a folder by name, or a data set that `datasets` saved to disk.

    Raises BadValue where there is none, or it is of another kind.
    """
    if path.is_dir():
        if (path / "dataset_info.json").is_file():  # save_to_disk of datasets
            return [path]
        there = sorted(file for suffix in SUFFIXES for file in path.glob(f"*.{suffix}"))
        if not there:
            raise BadValue("texts", path, f"the folder has no {', '.join(f'*.{s}' for s in SUFFIXES)}; name another")
        return there
    if not path.is_file():
        raise BadValue("texts", path, "there is no such file or folder; name one")
    if path.suffix.removeprefix(".") not in SUFFIXES:
        raise BadValue("texts", path, f"name a file that ends in .{', .'.join(SUFFIXES)}")
    return [path]


def contents(
    places: Sequence[Path], text_field: str | None, ids_field: str | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, what reads its text or ids) of every document of these files: a .txt file's stem, else `stem:row`.

    Raises BadValue or UserError for a file that cannot be read, and a column that is not there.
    """
    for file in places:
        if file.suffix == ".txt":
            yield file.stem, lambda file=file: _text(file)  # type: ignore[misc]
            continue
        for number, row in _table(file):
            field = _field(file, row, text_field, ids_field)
            yield f"{file.stem}:{number}", lambda row=row, field=field: row[field]  # type: ignore[misc]


def text_or_ids(name: str, content: Any) -> str | list[int]:
    """What a document holds: a text, or a list of token ids. Raises UserError where it is neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, np.ndarray)) or not all(type(token) is int for token in content):
        raise UserError(f"{name}: holds neither a text nor a list of token ids; name another column")
    return list(content)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({os_error_reason(error)}): let this user read it") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8; convert it") from None


def _table(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows, from 1."""
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise ValueError(f"line {number} is no object")
                        yield number, row
            return
        number = 0
        for batch in _parquet(file) if file.suffix == ".parquet" else _arrow(file):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except OSError as error:
        raise UserError(f"{file} cannot be read ({os_error_reason(error)}); name another file") from None
    except (ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is damaged, or no {file.suffix or 'data set'} ({told(error)}); name another") from None


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            yield from table.iter_batches(batch_size=16)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _arrow(place: Path) -> Iterator[Any]:
    """Batches of an Arrow file, of either format, or of a data set of one split that was saved to disk."""
    import pyarrow as pa

    for file in [place] if place.is_file() else _saved(place):
        try:
            with pa.memory_map(str(file)) as source:
                try:
                    yield from pa.ipc.open_stream(source)
                except pa.ArrowInvalid:
                    opened = pa.ipc.open_file(source)
                    yield from (opened.get_batch(i) for i in range(opened.num_record_batches))
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error


def _saved(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return [folder / part["filename"] for part in state["_data_files"]]


def _field(file: Path, row: dict[str, Any], text_field: str | None, ids_field: str | None) -> str:
    """The column that holds the document: the one that is named, else the first of the usual ones that is there."""
    for option, named in (("--ids-field", ids_field), ("--text-field", text_field)):
        if named is not None:
            if named not in row:
                raise BadValue(option, named, f"{file.name} has {', '.join(map(str, row))}")
            return named
    for name in (*TEXT_FIELDS, *IDS_FIELDS):
        if name in row:
            return name
    raise UserError(f"{file}: none of {', '.join((*TEXT_FIELDS, *IDS_FIELDS))} is among {', '.join(map(str, row))}; "
                    "name the column with --text-field or --ids-field")  # fmt: skip
