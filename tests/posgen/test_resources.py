"""Free memory and disk against files as a kernel writes them and limits as `ulimit` sets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from posgen import data_size, dataset, resources
from posgen.errors import BadValue
from posgen.spec import DataSpec, Task

GIB = 2**30


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str) -> int | None:
    """What is free for a process in these groups, on a machine with 64 GiB available."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 99999999 kB\nMemAvailable:   67108864 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    monkeypatch.setattr(resources, "PROC", tmp_path / "proc")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "groups")
    return resources.free_memory()


def test_without_limits_what_the_machine_has_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free(tmp_path, monkeypatch, "0::/\n") == 64 * GIB


def test_the_limit_of_a_group_above_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2. Files in the cache are dropped where memory is wanted."""
    groups = tmp_path / "groups"
    group(groups / "user" / "job", memory__max="max", memory__current=3 * GIB)
    group(
        groups / "user",
        memory__max=8 * GIB,
        memory__current=5 * GIB,
        memory__stat=f"anon 7\ninactive_file {GIB}\nfile 9",
    )
    assert free(tmp_path, monkeypatch, "0::/user/job\n") == 4 * GIB


def test_version_1_and_a_path_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the path is often the host's, which is not there: the limit stands at the top."""
    top = tmp_path / "groups" / "memory"
    stat = f"total_cache 1\ntotal_inactive_file {GIB // 2}"
    group(top, memory__limit_in_bytes=2 * GIB, memory__usage_in_bytes=GIB, memory__stat=stat)
    assert free(tmp_path, monkeypatch, "5:cpu:/\n4:memory:/docker/abc\n0::/\n") == 3 * GIB // 2


def test_version_1_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(tmp_path / "groups" / "memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=GIB)
    assert free(tmp_path, monkeypatch, "4:memory:/\n") == 64 * GIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited on Linux")
def test_the_limit_on_address_space_counts() -> None:
    """Never more than could be allocated, and nearly all of it."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from posgen.resources import free_memory\n"
        "free = free_memory(); bytearray(int(0.9 * free))\n"
        "try: bytearray(int(1.1 * free))\n"
        "except MemoryError: print(free)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**30


@pytest.mark.parametrize(
    ("count", "words"), [(812 * GIB, "812 GiB"), (16.24 * GIB, "16.2 GiB"), (3 * 2**20, "3.0 MiB"), (2**41, "2.0 TiB")]
)
def test_sizes_in_words(count: float, words: str) -> None:
    assert resources.size(count) == words


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert resources.free_disk(tmp_path / "a" / "b") is not None


TASK = Task("cot", "cot", 17)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (DataSpec(train_size=5_000_000), "data.train_size=5000000"),
        (DataSpec(test_length=1_000_000), "data.test_length=1000000"),
        (DataSpec(validation_size=2_000_000), "data.validation_size=2000000"),
    ],
)
def test_a_data_set_beyond_the_memory_is_refused_with_the_numbers(
    data: DataSpec, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is a byte a token by hand, up to as much again for the largest split, read back, and the prefixes."""
    monkeypatch.setattr(dataset, "free_memory", lambda: 50 * 2**20)
    train, validation, test = data.train_size * data.train_length, data.validation_size, data.test_size
    tokens = train + (validation + test) * data.test_length
    with pytest.raises(BadValue) as told:
        dataset.prepare(TASK, data, tmp_path)
    assert str(told.value).startswith(f"{named}: the data set needs about ")
    assert " of memory and 50.0 MiB are free" in str(told.value)
    assert tokens < data_size.making_bytes(TASK, data) < 2.7 * tokens
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_beyond_the_disk_is_refused_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "free_disk", lambda folder: 10_000)
    with pytest.raises(BadValue, match=r"of disk space for .* are free"):
        dataset.prepare(TASK, DataSpec(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_of_the_files_is_their_size(tmp_path: Path) -> None:
    data = DataSpec(train_size=4_000, validation_size=1_000, test_size=1_000)
    made = dataset.prepare(TASK, data, tmp_path)
    size = sum(file.stat().st_size for file in made.path.glob("*.parquet"))
    assert 0.5 < size / data_size.disk_bytes(TASK, data) < 1.05
