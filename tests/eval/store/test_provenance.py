"""Same code is a fact: the hash of the source follows every edit and nothing else."""

from __future__ import annotations

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from eval.store import records
from eval.store.provenance import PARTS, SOURCE, device_name, maker, source_hash
from tests.committed import ROOT, results
from tests.eval.made import MAKER, synthetic_record

PACKAGES = ("cli", "conf", "eval", "models", "posgen")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages, as somebody else has them."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_copy_of_the_code_has_its_hash_whatever_its_times_and_order(copy: Path) -> None:
    assert source_hash(copy) == source_hash(ROOT) == SOURCE
    for number, path in enumerate(sorted(copy.rglob("*.py"), reverse=True)):
        content = path.read_bytes()
        path.unlink()  # a folder then lists its files in another order
        path.write_bytes(content)
        os.utime(path, (number, number))
    assert source_hash(copy) == SOURCE


@pytest.mark.parametrize(
    "name", ["posgen/rules/cot.py", "models/optim.py", "conf/profile/quick.yaml", "eval/running/training.py"]
)
def test_an_edited_file_is_other_code(copy: Path, name: str) -> None:
    (copy / name).write_text((copy / name).read_text() + "\n")
    assert source_hash(copy) != SOURCE


def test_a_new_a_removed_and_a_renamed_file_are_other_code(copy: Path) -> None:
    hashes = {SOURCE}
    file = copy / "models" / "fusing.py"
    content = file.read_bytes()
    file.unlink()
    hashes.add(source_hash(copy))
    (copy / "models" / "other.py").write_bytes(content)
    hashes.add(source_hash(copy))
    file.write_bytes(content)
    hashes.add(source_hash(copy))
    assert len(hashes) == 4


def test_what_only_draws_and_what_an_editor_leaves_count_for_nothing(copy: Path) -> None:
    for name in ("cli/figures.py", "eval/evidence/table1.py"):
        (copy / name).write_text((copy / name).read_text() + "\n")
    (copy / "models" / "notes.txt").write_text("a thought")
    (copy / "models" / ".#optim.py").symlink_to("somebody@somewhere.1:2")  # as Emacs does
    assert source_hash(copy) == SOURCE


def test_whatever_trains_and_measures_imports_nothing_that_is_not_hashed() -> None:
    parts = [ROOT / part for part in PARTS if part != "eval/evidence/lengths"]  # it draws as well
    outside = []
    for path in (path for part in parts for path in part.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in named:
                place = ROOT / name.replace(".", "/")
                inside = any(place.is_relative_to(ROOT / part) for part in PARTS)
                if name.partition(".")[0] in PACKAGES and not inside and name != "eval":
                    outside.append((path.relative_to(ROOT).as_posix(), name))
    assert outside == []


def test_a_maker_names_its_source_and_a_record_keeps_it(tmp_path: Path) -> None:
    here = maker("cpu")
    assert here.source == SOURCE
    record = synthetic_record()
    made = replace(record, measured_by=here, training=replace(record.training, trained_by=(here,)))
    records.append(tmp_path / "records.jsonl", [made])
    (read,) = records.load(tmp_path / "records.jsonl")
    assert [maker.source for maker in (*read.trained_by, read.measured_by)] == [SOURCE, SOURCE]


def test_records_without_a_source_keep_their_form_and_their_training_its_id(tmp_path: Path) -> None:
    records.append(tmp_path / "records.jsonl", [synthetic_record()])
    assert "source" not in (tmp_path / "records.jsonl").read_text()
    with_source = replace(MAKER, source=SOURCE)
    old = synthetic_record().training
    assert replace(old, trained_by=(with_source,)).id != old.id
    for file in ("quick", "narrow", "paper"):
        lines = (results() / file / "records.jsonl").read_bytes().splitlines()
        stored = [json.loads(line) for line in lines if line.startswith(b'{"kind":"training"')]
        made = {record.training.id for record in records.load(results() / file / "records.jsonl")}
        assert {node["id"] for node in stored} == made


def test_a_processor_is_named_with_its_vector_instructions() -> None:
    """Two processors of one model name may have other ones, whose kernels round otherwise."""
    vectors = torch.backends.cpu.get_cpu_capability()
    assert vectors
    assert device_name("cpu").startswith("cpu: ")
    assert device_name("cpu").endswith(f" ({vectors}), {torch.get_num_threads()} threads")
