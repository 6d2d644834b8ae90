"""Tasks with hidden and interleaved answers from YAML to report, as a user types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import Choice, compose
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from posgen.answers import scored
from posgen.rules import dependencies
from posgen.spec import Answers
from tests.command import run

TASKS = ("cot_hidden", "recursive_copy", "semi_recursive_interleaved")
SWEEP = (
    "sweep", "--profile", "smoke", "--protocol", "paper", "--task", ",".join(TASKS), "--pe", "rope,resonance_rope",
    "--threads", "1", "paths.data=data",
)  # fmt: skip
STORED = Path("results/smoke/records.jsonl")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hidden")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*SWEEP) == 0
    return folder


@pytest.fixture(autouse=True)
def workplace(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(swept)


def records() -> list[AccuracyRecord]:
    return sorted(load(STORED), key=lambda record: (record.task, record.pe))


def test_records_have_an_accuracy_where_something_is_asked_and_nowhere_else() -> None:
    found = records()
    assert len(found) == 6
    for record in found:
        task = record.training.task
        assert task.answers is (Answers.interleaved if "interleaved" in record.task else Answers.hidden)
        accuracy = np.array(record.accuracy_by_position, dtype=float)
        asked = scored(task, record.length)
        assert np.array_equal(~np.isnan(accuracy), asked)
        assert record.metrics is not None
        new = np.arange(record.length) >= record.train_length
        assert record.metrics.ood_accuracy == pytest.approx(accuracy[asked & new].mean(), abs=1e-5)
        assert record.metrics.id_accuracy == pytest.approx(accuracy[asked & ~new].mean(), abs=1e-5)


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_to_the_same_end() -> None:
    assert run(*SWEEP, "paths.results=part", "paths.runs=part/runs", "--until", "1") == 0
    assert run(*SWEEP, "paths.results=part", "paths.runs=part/runs") == 0

    def numbers(found: list[AccuracyRecord]) -> dict[tuple[str, str], Any]:
        return {(r.run_id, r.test_encoding): (r.metrics, r.history, r.accuracy_by_position) for r in found}

    assert numbers(load(Path("part/smoke/records.jsonl"))) == numbers(records())


def test_table_and_verdict_are_of_these_tasks_alone(tmp_path: Path) -> None:
    for command in ("table1", "verdict"):
        assert run(command, "--records", str(STORED), "--format", "all", "--out", str(tmp_path)) == 0
    table = (tmp_path / "table1.md").read_text()
    assert "Other tasks than the paper's, protocol paper" in table
    assert "CoT, hidden answers ID" in table
    assert "ID = tokens 4 or 9 to 15" in table
    # Nothing of the paper's tasks, neither numbers nor what is missing, and no setting that would be another one there.
    assert "65.29" not in table
    assert "Missing" not in table
    assert "near" not in table.partition("Differences of profile")[2]
    assert "| Semi-recursive, interleaved answers | Resonance RoPE - RoPE |" in table
    verdict = (tmp_path / "verdict.md").read_text()
    assert "| CoT, hidden answers | Resonance RoPE |" in verdict
    assert "Claims of the paper" not in verdict


def test_beside_the_papers_tasks_they_change_nothing_of_these(tmp_path: Path) -> None:
    alone = [word.replace(",".join(TASKS), "cot") for word in SWEEP]
    assert run(*alone, "paths.results=alone", "paths.runs=alone/runs") == 0
    cot = Path("alone/smoke/records.jsonl").read_text()
    Path("both.jsonl").write_text(cot + STORED.read_text())
    for name, file in (("alone", "alone/smoke/records.jsonl"), ("both", "both.jsonl")):
        assert run("verdict", "--records", file, "--format", "csv", "--out", str(tmp_path / name)) == 0
    lines = [(tmp_path / name / "verdict.csv").read_text().splitlines() for name in ("alone", "both")]
    assert set(lines[0]) <= set(lines[1])
    assert len(lines[1]) == len(lines[0]) + len(TASKS)
    assert run("table1", "--records", "both.jsonl", "--format", "markdown", "--out", str(tmp_path)) == 0
    both = (tmp_path / "table1.md").read_text()
    assert both.index("Table 1, protocol paper") < both.index("Other tasks than the paper's")


@pytest.mark.parametrize("command", ["figure3", "positions", "curves"])
def test_figures_are_drawn(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--records", str(STORED), "--out", str(tmp_path)) == 0
    assert list(tmp_path.glob(f"{command}-paper.png"))
    said = capsys.readouterr().out
    assert "(a) Resonance reaches" not in said
    if command == "positions":
        assert "On Semi-recursive, interleaved answers even and odd answers have separate lines" in said
        rows = (tmp_path / "positions-paper.csv").read_text().splitlines()
        found = {int(row.split(",")[3]) for row in rows if "interleaved" in row}
        assert found == set(range(9, 32, 2))


def test_free_running_is_teacher_forced_where_no_answer_is_read() -> None:
    chosen = {record.task: record for record in records() if record.pe == "rope"}
    for name, mode in (("cot_hidden", "free_running"), ("semi_recursive_interleaved", "free_running")):
        before = chosen[name]
        assert run("evaluate", before.run_id, "--accuracy", mode, "--length", "32,48") == 0
        after = [r for r in load(Path("results/runs/records.jsonl")) if r.run_id == before.run_id]
        assert {(r.length, r.accuracy_mode) for r in after} == {(32, mode), (48, mode)}
        (same,) = (r for r in after if (r.length, r.test_encoding) == (32, before.test_encoding))
        assert same.metrics is not None
        assert before.metrics is not None
        if name == "cot_hidden":
            assert same.metrics.ood_accuracy == before.metrics.ood_accuracy
            assert same.metrics.loss == pytest.approx(before.metrics.loss, rel=1e-5)
        else:
            assert same.metrics.loss is None


@pytest.mark.slow
def test_lengths_report_and_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lengths", "--measure", "--profile", "smoke", "--factors", "4") == 0
    assert run("report", "--profile", "smoke") == 0
    page = Path("results/smoke/report.html").read_text()
    assert "CoT, hidden answers" in page
    assert run("verify") == 0
    assert run("status", "--runs") == 0
    assert "cot_hidden" in capsys.readouterr().out


def test_show_draws_the_question_and_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--task", "cot_hidden,cot_copy,semi_recursive_interleaved", "--length", "12") == 0
    said = capsys.readouterr().out
    assert "y7        [2]                      5  =0\n" in said
    assert "       7      0  u0=2  u6=5   2 + 5 = 7 = 0 mod 7\n" in said
    assert "       9      3  a0=2  y3=1  2 + 1 = 3\n" in said
    assert "      11      4        y4=3  1 + 3 = 4\n" in said


@pytest.mark.parametrize("rule", ["cot", "recursive", "semi_recursive"])
def test_the_far_token_stands_where_the_papers_task_has_it(rule: str) -> None:
    paper, hidden, copied = (compose(Choice(name)).task for name in (rule, f"{rule}_hidden", f"{rule}_copy"))
    for task in (hidden, copied):
        assert task.prefix_length == paper.prefix_length
        for position in range(4, 256):
            assert dependencies(task, position)[0] == dependencies(paper, position)[0]
    assert dependencies(hidden, 9)[1] == (8,)
    assert dependencies(copied, 9)[1] == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--protocol", "released"), "data.splits=released: sorted prefixes are not random"),
        (("task.answers=interleaved",), "task.rule=cot: each far token serves one interleaved answer"),
        (("data.train_length=8",), "data.train_length=8: use at least 12"),
        (("task.answers=hiden",), "task.answers=hiden: did you mean hidden?"),
        (("task.gap=-1",), "task.gap=-1: skip 0 to 4096"),
    ],
)
def test_what_makes_no_sense_is_one_line(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "smoke", "--task", "cot_hidden", *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"posgen: error: {told}")


def test_the_default_tasks_are_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "smoke", "--dry-run") == 0
    assert "_hidden" not in capsys.readouterr().out
