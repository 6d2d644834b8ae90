"""`posgen llm score`, `leval` and `table2` as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.command import run
from tests.tiny_chat_model import ROWS, save_data, save_model

ROW = {"query": "q", "gt": "D", "prompt": "p", "gpt4_pred": "D.", "evaluation": "exam"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run("llm", *words) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"posgen: error: [^\n]+\n", error), error
    return error


def test_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "tpo.pred.jsonl", ROW, {**ROW, "gpt4_pred": "Answer: D"})
    assert run("llm", "score", str(file), "--rows") == 0
    shown = capsys.readouterr().out
    assert re.search(r"tpo +2 50\.0000 35\.36 100\.00 D", shown), shown
    assert "tpo.pred.jsonl, line 2: read A, gold D, score 0" in shown
    assert run("llm", "score", str(file), "--scoring", "strict", "--format", "csv") == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[1:5] == ["tpo", "2", "100.0", "0.0"]


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("tpo.jsonl", {**ROW, "gt": 3}, "line 1: gt should be a text"),
        ("tpo.jsonl", {k: v for k, v in ROW.items() if k != "gpt4_pred"}, "has 0 keys that end in _pred"),
        ("tpo.jsonl", [1], "is no JSON object"),
        ("other.jsonl", ROW, "its name says no task; add --task"),
        ("sci_fi.jsonl", {**ROW, "gt": "True [fact: False]"}, r"line 1: the prediction has no `\[fact:"),
        ("gsm100.jsonl", {**ROW, "gt": "many"}, "line 1: the gold answer 'many' has no number"),
    ],
)
def test_score_refuses(
    name: str, row: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, refused(capsys, "score", str(write(tmp_path / name, row))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ["B"]}, "has 2 instructions and 1 outputs; they should be equally many"),
        ({"instructions": "x"}, "instructions should be a list of texts"),
        ({"input": None}, "input should be a text"),
        ({"evaluation": "LLM"}, "evaluation should be exam, not 'LLM'"),
    ],
)
def test_leval_refuses_data(change: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = save_data(tmp_path / "data", {"tpo": [ROWS["tpo"][1], {**ROWS["tpo"][0], **change}]})
    words = ("leval", "nowhere", "--data", str(data), "--tasks", "tpo")
    assert f"tpo.jsonl, line 2: {message}" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "data=: name the folder"),
        (("--data", "nowhere"), "data=nowhere: is no folder"),
        (("--data", ".", "--tasks", "toefl"), "tasks=toefl: one of"),
        (("--data", ".", "--rope", "yarm"), "did you mean yarn"),
        (("--data", ".", "--max-length", "long"), "max_length=long: use a number"),
        (("--data", ".", "--max-length", "500"), "use more than max_new_tokens=512"),
        (("--data", ".", "--template", "none"), "template=none: one of leval, chat"),
        (("--data", ".", "--limit", "0"), "limit=0: use at least 1"),
        (("--data", "."), "has no coursera.jsonl"),
    ],
)
def test_leval_refuses_options(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "leval", "model", *words)
    assert list(tmp_path.iterdir()) == []


def test_leval_and_table2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "tiny")
    save_data(tmp_path / "data")
    words = ("leval", "tiny", "--data", "data", "--tasks", "tpo,gsm,sci_fi", "--factor", "4", "--max-length", "0.6k",
             "--max-new-tokens", "8", "--dtype", "fp32", "--threads", "1")  # fmt: skip
    assert run("llm", *words, "--dry-run") == 0
    assert "6 questions under each of 2 encodings" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert run("llm", *words, "--template", "chat") == 0
    shown = capsys.readouterr().out
    assert "Resonance YaRN" in shown
    assert "template chat, scoring leval" in shown
    assert run("llm", *words, "yarn.beta_fast=16", "--rope", "yarn", "--scoring", "strict") == 0
    assert "template leval, scoring strict" in capsys.readouterr().out
    files = sorted(Path("results/runs/llm/leval").rglob("*.pred.jsonl"))
    assert len(files) == 9
    assert run("llm", "score", *map(str, files)) == 0
    capsys.readouterr()
    assert run("llm", "table2", "--format", "all", "--out", "drawn") == 0
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["table2.csv", "table2.md", "table2.tex"]
    assert len(Path("drawn/table2.csv").read_text().splitlines()) == 1 + 9
    records = Path("results/llm/leval/records.jsonl").read_text()
    assert "old tree" not in records
    assert "by the river" not in records
