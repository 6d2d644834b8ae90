"""Data sets on disk: the round trip, what is left alone, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posgen import __version__, dataset, files, manifest
from posgen.dataset import Dataset, load, prepare
from posgen.errors import BadValue, UserError
from posgen.plain import digest
from posgen.spec import DataSpec, Splits, Task

TASK = Task(name="cot", rule="cot")
DATA = DataSpec(train_length=12, test_length=40, train_size=50, validation_size=9, test_size=7)
SIZES = {"train": (50, 12), "validation": (9, 40), "test": (7, 40)}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(TASK, DATA, tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made: Dataset, tmp_path: Path) -> Path:
    """A data set in its place below tmp_path, to be damaged."""
    return Path(shutil.copytree(made.path, tmp_path / made.path.name))


def test_round_trip(made: Dataset) -> None:
    found = load(made.path)
    assert made.created
    assert not found.created
    assert (found.task, found.data, found.manifest) == (TASK, DATA, made.manifest)
    for split, shape in SIZES.items():
        tokens = getattr(found, split)
        assert tokens.shape == shape
        assert tokens.dtype == np.uint8
        assert np.array_equal(tokens, getattr(made, split))
        # the chain of thought's rule, spelled out
        later = tokens[:, [0]] + tokens[:, 1:-3].astype(int) + tokens[:, 2:-2] + tokens[:, 3:-1]
        assert np.array_equal(later % 17, tokens[:, 4:])


def test_first_tokens_are_disjoint(made: Dataset) -> None:
    seeds = [tuple(row) for split in SIZES for row in getattr(made, split)[:, :4].tolist()]
    assert len(set(seeds)) == 50 + 9 + 7


def test_manifest_tells_what_the_files_hold(made: Dataset) -> None:
    written = json.loads((made.path / "manifest.json").read_text())
    assert written.pop("digest") == digest(made.manifest)
    assert written == made.manifest
    assert written["posgen_version"] == __version__
    task = {"name": "cot", "rule": "cot", "modulus": 17, "far": 1, "near": 3, "h": "sum_mod", "code": ""}
    assert written["task"] == task
    assert written["data"]["seed"] == 0
    assert written["data"]["splits"] == "disjoint"
    for split, (rows, length) in SIZES.items():
        entry = written["splits"][split]
        assert (entry["file"], entry["rows"], entry["length"]) == (f"{split}.parquet", rows, length)
        column = pq.read_table(made.path / f"{split}.parquet")["tokens"].to_pylist()
        assert entry["sha256"] == hashlib.sha256(b"".join(map(bytes, column))).hexdigest()


def test_checksum_is_of_little_endian_rows() -> None:
    tokens = np.array([[1, 258], [3, 4]])
    expected = hashlib.sha256(bytes([1, 0, 2, 1, 3, 0, 4, 0])).hexdigest()
    assert files.checksum(tokens.astype("<u2")) == expected
    assert files.checksum(tokens.astype(">u2")) == expected
    assert files.checksum(np.asfortranarray(tokens.astype("<u2"))) == expected


def test_large_tokens_and_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP", 100)
    task = Task(name="wide", rule="semi_recursive", modulus=32_000, far=4, near=4)
    made = prepare(task, DATA, tmp_path)
    assert pq.ParquetFile(made.path / "train.parquet").num_row_groups > 1
    found = load(made.path)
    assert found.train.dtype == np.uint16
    assert np.array_equal(found.train, made.train)


def test_files_are_zstd(made: Dataset) -> None:
    assert pq.ParquetFile(made.path / "train.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_second_call_touches_nothing(copy: Path) -> None:
    before = snapshot(copy)
    again = prepare(TASK, DATA, copy.parent)
    assert not again.created
    assert again.path == copy
    assert snapshot(copy) == before
    assert list(copy.parent.iterdir()) == [copy]


def test_the_same_parameters_give_the_same_bytes(made: Dataset, tmp_path: Path) -> None:
    again = prepare(TASK, DATA, tmp_path / "not" / "yet" / "there")
    assert {p.name: p.read_bytes() for p in again.path.iterdir()} == {
        p.name: p.read_bytes() for p in made.path.iterdir()
    }


def test_the_folder_is_named_by_all_that_changes_tokens() -> None:
    tasks = [replace(TASK, **change) for change in ({}, {"modulus": 7}, {"far": 2}, {"near": 2}, {"h": "a.b:c"})]
    tasks.append(replace(TASK, rule="recursive"))
    changes: list[dict[str, Any]] = [{"train_length": 13}, {"test_length": 41}, {"train_size": 51}, {"test_size": 8}]
    changes += [{"validation_size": 10}, {"seed": 1}, {"splits": Splits.released}]
    names = [manifest.folder_name(task, DATA) for task in tasks]
    names += [manifest.folder_name(TASK, replace(DATA, **change)) for change in changes]
    assert len(set(names)) == len(tasks) + len(changes)
    assert all(re.fullmatch("cot-[0-9a-f]{12}", name) for name in names)
    renamed = manifest.folder_name(replace(TASK, name="other"), DATA)
    assert renamed.removeprefix("other-") == names[0].removeprefix("cot-")


def test_hugging_face_datasets_opens_the_files(made: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    data_files = {split: str(made.path / f"{split}.parquet") for split in SIZES}
    opened = datasets.load_dataset("parquet", data_files=data_files, cache_dir=str(tmp_path / "cache"))
    for split in SIZES:
        assert opened[split].column_names == ["tokens"]
        assert np.array_equal(np.array(opened[split]["tokens"]), getattr(made, split))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Without its digest, as an older version wrote it."""
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    content.pop("digest", None)
    edit(content)
    file.write_text(json.dumps(content))


def rewrite(folder: Path, split: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    file = folder / f"{split}.parquet"
    tokens = np.array(pq.read_table(file)["tokens"].to_pylist(), np.uint8)
    files.write(change(tokens), file)


def one_token_edited(tokens: np.ndarray) -> np.ndarray:
    tokens[-1, -1] = (tokens[-1, -1] + 1) % 17
    return tokens


def truncated(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def foreign_table(folder: Path, table: pa.Table) -> None:
    pq.write_table(table, folder / "test.parquet")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated split": (lambda f: truncated(f, "validation.parquet"), r"validation\.parquet: damaged"),
    "empty split": (lambda f: (f / "test.parquet").write_bytes(b""), r"test\.parquet: damaged"),
    "missing split": (lambda f: (f / "test.parquet").unlink(), r"test\.parquet: missing"),
    "edited token": (lambda f: rewrite(f, "train", one_token_edited), r"train\.parquet: damaged, .*sha256"),
    "rows in another order": (lambda f: rewrite(f, "train", lambda x: x[::-1]), r"train\.parquet: damaged, .*sha256"),
    "a row less": (lambda f: rewrite(f, "train", lambda x: x[:-1]), r"train\.parquet: damaged, it has 49 sequences"),
    "shorter rows": (
        lambda f: rewrite(f, "train", lambda x: x[:, :-1]),
        r"train\.parquet: damaged, .* do not have 12 t",
    ),
    "wider tokens": (lambda f: rewrite(f, "train", lambda x: x.astype("u4")), r"train\.parquet: damaged, its tokens"),
    "other columns": (lambda f: foreign_table(f, pa.table({"text": ["a"]})), r"test\.parquet: damaged, it has the col"),
    "null tokens": (
        lambda f: foreign_table(f, pa.table({"tokens": pa.array([[None] * 40] * 7, pa.list_(pa.uint8()))})),
        r"test\.parquet: damaged, some of its tokens are missing",
    ),
    "null rows": (
        lambda f: foreign_table(f, pa.table({"tokens": pa.array([None] * 7, pa.list_(pa.uint8()))})),
        r"test\.parquet: damaged, some of its tokens are missing",
    ),
    "splits exchanged": (
        lambda f: (f / "test.parquet").replace(f / "validation.parquet"),
        r"validation\.parquet: damaged, it has 7 sequences, not 9",
    ),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), r"not a PosGen data set, it has no manifest\.json"),
    "truncated manifest": (lambda f: truncated(f, "manifest.json"), r"manifest\.json: it is not readable JSON"),
    "binary manifest": (
        lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"),
        r"manifest\.json: it is not readable",
    ),
    "somebody else's manifest": (
        lambda f: (f / "manifest.json").write_text("[]"),
        r"it is not the manifest of a PosGen",
    ),
    "later format": (lambda f: edit_manifest(f, lambda m: m.update(format_version=2)), "it has format version 2"),
    "manifest without task": (lambda f: edit_manifest(f, lambda m: m.pop("task")), "it lacks 'task'"),
    "manifest without split": (lambda f: edit_manifest(f, lambda m: m["splits"].pop("test")), "it lacks 'test'"),
    "unknown field": (
        lambda f: edit_manifest(f, lambda m: m["task"].update(spam=1)),
        "one of its fields is of a wrong",
    ),
    "wrong kind": (
        lambda f: edit_manifest(f, lambda m: m["task"].update(modulus="x")),
        "one of its fields is of a wrong",
    ),
    "unknown rule": (
        lambda f: edit_manifest(f, lambda m: m["task"].update(rule="x")),
        "rule=x: one of cot, recursive, semi_recursive",
    ),
    "edited size": (lambda f: edit_manifest(f, lambda m: m["data"].update(train_size=49)), "about train contradicts"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_data_set_is_refused_and_left_alone(damage: str, copy: Path) -> None:
    inflict, complaint = DAMAGES[damage]
    inflict(copy)
    before = snapshot(copy)
    with pytest.raises(UserError, match=complaint) as loaded:
        load(copy)
    with pytest.raises(UserError, match=complaint) as prepared:
        prepare(TASK, DATA, copy.parent)
    for line in (str(loaded.value), str(prepared.value)):
        assert "\n" not in line
        assert line.endswith(f"; move {copy} elsewhere and run posgen generate again")
    assert snapshot(copy) == before
    shutil.rmtree(copy)
    assert prepare(TASK, DATA, copy.parent).created


def test_any_flipped_byte_is_noticed_or_harmless(made: Dataset, copy: Path) -> None:
    file = copy / "train.parquet"
    content = file.read_bytes()
    complaints = []
    for place in np.random.default_rng(0).choice(len(content), 120, replace=False).tolist():
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert np.array_equal(load(copy).train, made.train)
        except UserError as error:
            complaints.append(str(error))
    assert complaints
    assert all(f"{file}: damaged" in line for line in complaints)


def test_a_data_set_of_other_parameters_is_foreign(copy: Path) -> None:
    edit_manifest(copy, lambda m: (m["data"].update(seed=3), m["task"].update(h="pkg.mod:fn")))
    with pytest.raises(
        UserError, match=r"made with other parameters \(h=pkg.mod:fn instead of sum_mod, seed=3 instead of 0\)"
    ):
        prepare(TASK, DATA, copy.parent)


def test_another_name_in_the_manifest_is_no_other_data_set(copy: Path) -> None:
    edit_manifest(copy, lambda m: m["task"].update(name="my_cot"))
    assert not prepare(TASK, DATA, copy.parent).created


def test_a_function_edited_since_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "pg_edited_h.py"
    module.write_text("def h(args, modulus): return args.sum(axis=1) % modulus\n")
    monkeypatch.syspath_prepend(tmp_path)
    task = replace(TASK, h="pg_edited_h:h")
    assert prepare(task, DATA, tmp_path / "data").created
    monkeypatch.setattr(sys.modules["pg_edited_h"], "h", lambda args, modulus: args.sum(axis=1) * 2 % modulus)
    with pytest.raises(UserError, match=r"train\.parquet: its sequences do not follow h=pg_edited_h:h, was it edited"):
        prepare(task, DATA, tmp_path / "data")


def test_there_is_nothing_to_load(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="there is no data set here; make it with posgen generate"):
            load(path)


def test_an_empty_folder_is_filled(made: Dataset, tmp_path: Path) -> None:
    (tmp_path / made.path.name).mkdir()
    assert prepare(TASK, DATA, tmp_path).created


@pytest.mark.parametrize("step", ["write", "read", "checksum"])
def test_an_interruption_leaves_nothing(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = getattr(files, step)

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(dataset.files, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(TASK, DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tokens: np.ndarray, file: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(
        UserError,
        match=r"cannot be written .*No space left on device\); free some, or name another place with paths\.data=DIR",
    ):
        prepare(TASK, DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_differently_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = files.write
    monkeypatch.setattr(files, "write", lambda tokens, file: original(one_token_edited(tokens.copy()), file))
    with pytest.raises(UserError, match=r"train\.parquet reads back differently from what was written"):
        prepare(TASK, DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_told_in_one_line(made: Dataset, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("mine")
    with pytest.raises(UserError, match="the data set cannot be written"):
        prepare(TASK, DATA, tmp_path / "root")
    (tmp_path / made.path.name).write_text("mine")
    with pytest.raises(UserError, match="not a PosGen data set"):
        prepare(TASK, DATA, tmp_path)
    assert (tmp_path / made.path.name).read_text() == "mine"


def test_many_at_once_all_end_with_one_good_data_set(made: Dataset, tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def together(_: int) -> Dataset:
        start.wait()
        return prepare(TASK, DATA, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(together, range(4)))
    assert sum(result.created for result in results) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / made.path.name]
    for result in [*results, load(results[0].path)]:
        assert result.manifest == made.manifest
        assert np.array_equal(result.test, made.test)


def test_the_slower_of_two_takes_what_the_faster_wrote(
    made: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = manifest.write

    def overtaken(content: dict[str, Any], file: Path) -> None:
        original(content, file)
        shutil.copytree(made.path, tmp_path / made.path.name)

    monkeypatch.setattr(manifest, "write", overtaken)
    assert not prepare(TASK, DATA, tmp_path).created
    assert list(tmp_path.iterdir()) == [tmp_path / made.path.name]


@pytest.mark.parametrize("name", ["", "a/b", "../up", "-x", ".hidden", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"^name="):
        prepare(replace(TASK, name=name), DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parameters_that_do_not_fit_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"^train_length=12: use more than far \+ near = 12 tokens"):
        prepare(replace(TASK, far=6, near=6), DATA, tmp_path)
    with pytest.raises(BadValue, match=r"^train_size=50: .*largest possible sizes"):
        prepare(replace(TASK, modulus=2), DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def refused_by_the_system(number: int) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "(Permission denied); allow it (chmod, chown), or name another place with paths.data=DIR"),
        (errno.EMFILE, "(Too many open files); close other programs, or allow more open files (ulimit -n)"),
        (errno.EAGAIN, "(Resource temporarily unavailable); close other programs, or ask for less"),
        (errno.ENOMEM, "(Cannot allocate memory); close other programs, or ask for less"),
        (errno.EIO, "(Input/output error); the disk fails: copy what is on it elsewhere"),
    ],
)
@pytest.mark.parametrize("where", ["parquet", "manifest", "folder"])
def test_what_the_system_refuses_is_not_told_as_damage(
    number: int, remedy: str, where: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(copy)
    with monkeypatch.context() as patch:
        if where == "parquet":
            patch.setattr(files.pq, "ParquetFile", refused_by_the_system(number))
        elif where == "manifest":
            patch.setattr(Path, "read_text", refused_by_the_system(number))
        else:
            patch.setattr(dataset, "_occupied", lambda path: True)
            patch.setattr(Path, "stat", refused_by_the_system(number))
        with pytest.raises(UserError) as told:
            prepare(TASK, DATA, copy.parent)
    assert remedy in str(told.value)
    assert str(told.value).startswith(f"{copy}/")
    for harmful in ("damaged", "delete", "move "):
        assert harmful not in str(told.value)
    assert "\n" not in str(told.value)
    assert snapshot(copy) == before


def test_memory_that_runs_out_is_not_told_as_damage(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError("Unable to allocate 9 TiB"), pa.ArrowMemoryError("malloc of size 64 failed")):

        def out_of_memory(*_: Any, error: BaseException = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(files.pq, "ParquetFile", out_of_memory)
        with pytest.raises(UserError, match=r"train\.parquet: cannot be read \(out of memory\); close other programs"):
            load(copy)


def test_a_data_set_larger_than_the_memory_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    bomb = replace(DATA, test_length=100_000_000, test_size=10_000)
    with pytest.raises(BadValue, match=r"^data\.test_length=100000000: the data set needs about 1\.8 TiB of memory"):
        prepare(TASK, bomb, tmp_path)
    assert list(tmp_path.iterdir()) == []


def places(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key in nested dicts."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


DELETED = object()
ODD = [
    DELETED, None, True, -1, 0, 1.5, 10**9, 1e308, float("nan"), float("inf"), "", "x", "../up", "\x1b[2J",
    "9" * 10_000, [], [[]], ["a"], {}, {"a": {"b": [None]}},
]  # fmt: skip
IRRELEVANT = {"posgen_version", "file", "dtype", "name"}


def test_every_key_of_a_manifest_is_checked_whatever_stands_there(copy: Path, made: Dataset) -> None:
    edit_manifest(copy, lambda content: None)
    file = copy / "manifest.json"
    whole = file.read_text()
    told = taken = 0
    for path in [(), *places(json.loads(whole))]:
        for odd in ODD:
            content: Any = json.loads(whole)
            if path:
                parent = content
                for key in path[:-1]:
                    parent = parent[key]
                if odd is DELETED:
                    del parent[path[-1]]
                else:
                    parent[path[-1]] = odd
            elif odd is not DELETED:
                content = odd
            file.write_text(json.dumps(content))
            try:
                found = prepare(TASK, DATA, copy.parent)
            except UserError as error:
                told += 1
                line = str(error)
                assert line.startswith(f"{file}: "), (path, odd, line)
                assert line.isprintable(), (path, odd, line)
                assert len(line) < 700, (path, odd, line)
            else:
                taken += 1
                assert content == json.loads(whole) or path[-1] in IRRELEVANT or odd is DELETED, (path, odd)
                assert found.data == DATA, (path, odd)
                assert np.array_equal(found.test, made.test), (path, odd)
    assert told > 400
    assert taken > 20


def test_a_manifest_that_is_not_as_it_was_written_is_told(copy: Path) -> None:
    file = copy / "manifest.json"
    whole = json.loads(file.read_text())
    for path in places(whole):
        content = json.loads(json.dumps(whole))
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = "otherwise"
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"manifest\.json: "):
            load(copy)
    file.write_text(json.dumps(whole | {"dtypf": "uint8"}))
    with pytest.raises(UserError, match="dtypf is not known"):
        load(copy)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, "null", "3", '"x"', "NaN", "", "\ufeff{}"]
)
def test_a_manifest_of_any_other_content_is_one_line(text: str, copy: Path) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: it is not") as told:
        load(copy)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


def test_code_in_a_manifest_makes_another_data_set(copy: Path) -> None:
    edit_manifest(copy, lambda m: m["task"].update(code="0123456789ab"))
    with pytest.raises(UserError, match="made with other parameters"):
        prepare(TASK, DATA, copy.parent)
