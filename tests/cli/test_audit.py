"""`posgen audit` as a user types it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from eval.evidence.audit.words import runs
from tests.command import run

OWN = """
def affine(args, modulus):
    return (3 + args[:, 0] + 2 * args[:, 1]) % modulus

def cubes(args, modulus):
    return (args**3).sum(axis=1) % modulus
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_audited.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_terminal_begins_with_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", "cot", "--length", "12") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "CoT (modulus 17, h = sum mod 17, 12 tokens): 7 of 8 answers follow from 2 of the last 8 tokens"
    )
    words = " ".join(out.split())  # a narrow table's title is broken
    for title in ("what determines an answer", "possible accuracy from the last tokens", "from at most three tokens"):
        assert title in words
    assert "far 88.24 5.88 100.00 1 of 8 positions: 4" in words


def test_all_formats_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("audit", "task.modulus=6", "task.near=2", "--window", "4", "--length", "20")
    assert run(*arguments, "--format", "all", "--out", "made") == 0
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"audit.md", "audit.csv", "audit.json"}
    made = json.loads((tmp_path / "made" / "audit.json").read_text())
    text = (tmp_path / "made" / "audit.md").read_text()
    assert [one["task"]["rule"] for one in made] == ["recursive", "cot", "semi_recursive"]
    assert all(one["sentence"] in text for one in made)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "made" / "audit.csv").read_text())))
    for one in made:
        of = [line for line in lines if line["task"] == one["task"]["name"]]
        assert {(line["modulus"], line["h"], line["length"]) for line in of} == {("6", "sum_mod", "20")}
        for answer in one["answers"]:
            mine = [line for line in of if line["position"] == str(answer["position"])]
            sets = [line["tokens"] for line in mine if line["kind"] == "smallest"]
            assert sets == [f"{{{', '.join(tokens)}}}" for tokens in answer["smallest"]]
            last = [float(line["accuracy_percent"]) for line in mine if line["kind"] == "last"]
            assert last == pytest.approx([100 * value for value in answer["last"]], abs=1e-6)
        assert len([line for line in of if line["kind"] == "set"]) == sum(len(s["by_position"]) for s in one["sets"])


def test_functions_of_the_user_by_algebra_and_by_enumeration(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("task.modulus=5", "task.near=1", "--length", "20", "--format", "json", "--task", "recursive_hidden")
    for h, method in (("affine", "linear algebra over Z_m"), ("cubes", "enumeration of all arguments")):
        assert run("audit", f"task.h=own_audited:{h}", *sizes) == 0
        (made,) = json.loads(capsys.readouterr().out)
        assert made["method"].startswith(method)
        assert {value for one in made["answers"] for value in one["without"].values()} == {0.2}
        assert "exactly 1/5, 20.00 %" in made["sentence"]


def test_what_is_not_determined_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", "--task", "cot", "task.near=6", "--window", "3", "--length", "20") == 0
    out = capsys.readouterr().out
    assert "no answer follows from the last 3 tokens without the far token; they allow 5.88 % accuracy at best." in out
    assert run("audit", "task.far=0", "task.near=3", "--task", "cot", "--length", "20") == 0
    assert "17 of 17 answers follow from 2 to 3 of the last 8 tokens, which allow 100.00 %" in capsys.readouterr().out


def test_runs_of_positions() -> None:
    assert runs([4]) == "4"
    assert runs([4, 5]) == "4, 5"
    assert runs([4, 6, 7, 8, 9, 11, 13, 15]) == "4, 6-9, 11-15 by 2"
