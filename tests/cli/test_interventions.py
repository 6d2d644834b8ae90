"""`posgen interventions` for real, at the smoke profile."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from eval.store import records
from eval.store.probes import InterventionsRecord
from tests.command import run
from tests.committed import results

PES = ("rope", "yarn", "alibi")
MEASURE = ("interventions", "--profile", "smoke", "--measure", "--threads", "1", "--positions", "4")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which four encodings were swept on two tasks, and tokens exchanged for all of them."""
    folder = tmp_path_factory.mktemp("swept")
    what = ("--profile", "smoke", "--task", "cot,semi_recursive", "--pe", ",".join(PES), "--threads", "1")
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        assert run("sweep", *what, "--protocol", "paper,zero_shot") == 0
        assert run(*MEASURE, "--format", "terminal,markdown,csv,latex,svg") == 0
    (folder / "out").write_text(out.getvalue())
    return folder


@pytest.fixture(autouse=True)
def workplace(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(swept)
    return swept


def stored(folder: Path) -> Path:
    return folder / "results" / "smoke" / "interventions" / "records.jsonl"


def measured(folder: Path) -> list[InterventionsRecord]:
    return records.load(stored(folder), kind=InterventionsRecord)


def test_every_member_is_measured_once_as_it_was_tested(swept: Path) -> None:
    tested = records.load(swept / "results" / "smoke" / "records.jsonl")
    found = {(r.run_id, r.test_encoding, r.pe): r for r in measured(swept)}
    assert found.keys() == {(r.run_id, r.test_encoding, r.pe) for r in tested}
    for source in tested:
        record = found[source.run_id, source.test_encoding, source.pe]
        assert set(record.protocols) == set(source.protocols)
        for key in ("task", "seed", "train_encoding", "checkpoint_epoch", "training", "encoding", "length"):
            assert getattr(record, key) == getattr(source, key)
        # All 16 test sequences were read: the same answers are right as in the test.
        assert record.metrics is not None
        assert (record.id_accuracy, record.ood_accuracy, record.metrics.loss) == (
            pytest.approx(source.id_accuracy), pytest.approx(source.ood_accuracy), None,
        )  # fmt: skip
        done = record.interventions
        assert (done.exchange, done.sequences, done.seed) == ("far", 16, 0)
        right = dict(zip(done.positions, done.right, strict=True))
        for at, accuracy in enumerate(source.accuracy_by_position or ()):
            if at in right:
                assert right[at] == round(16 * (accuracy or 0.0))


def test_the_positions_and_their_far_tokens(swept: Path) -> None:
    for record in measured(swept):
        done = record.interventions
        assert {4, 16, 31} <= set(done.positions)
        assert set(done.answers) == {16}  # the paper's h is one-to-one in each argument
        for at, source in zip(done.positions, done.sources, strict=True):
            assert source == (0 if record.task == "cot" else (at - 4) // 2)


def test_tables_and_figures_are_written(swept: Path) -> None:
    folder = stored(swept).parent
    names = {path.name for path in folder.iterdir() if path.suffix in (".md", ".csv", ".tex", ".png", ".svg", ".pdf")}
    assert names == {
        "interventions.md", "interventions.csv", "interventions.tex", "interventions-positions.csv",
        "interventions-paper.svg", "interventions-zero_shot.svg",
    }  # fmt: skip
    out = (swept / "out").read_text()
    assert "Exchanged tokens: far token" in out
    assert "smoke test, its numbers mean nothing" in out
    assert r"\begin{table*}" in (folder / "interventions.tex").read_text()
    text = (folder / "interventions.md").read_text()
    assert "| paper | CoT | RoPE | right before |" in text
    assert "answers are fed back" in text


def test_the_counts_of_the_table_are_those_of_the_records(swept: Path) -> None:
    lines = list(csv.DictReader((stored(swept).parent / "interventions-positions.csv").open()))
    total: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if (line["protocol"], line["task"], line["pe"]) == ("paper", "semi_recursive", "alibi"):
            side = "id" if int(line["position"]) < 16 else "ood"
            assert int(line["distance"]) == int(line["position"]) - (int(line["position"]) - 4) // 2
            for among, name in (("all", "answers"), ("right", "right")):
                moved = line["moved" if among == "all" else "right_moved"]
                both = total.setdefault((side, among), [0, 0])
                both[0], both[1] = both[0] + int(line[name]), both[1] + int(moved)
    shown = {
        (line["side"], line["among"]): line
        for line in csv.DictReader((stored(swept).parent / "interventions.csv").open())
        if (line["protocol"], line["task"], line["pe"]) == ("paper", "semi_recursive", "alibi")
    }
    assert shown.keys() == total.keys()
    for place, (answers, moved) in total.items():
        assert int(shown[place]["answers"]) == answers
        assert float(shown[place]["moved"] or 0) == pytest.approx(moved / answers if answers else 0, abs=1e-6)


def test_what_is_measured_is_not_measured_again(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, count = stored(swept).read_bytes(), len(measured(swept))
    assert run(*MEASURE) == 0
    assert f"{count} of {count} measurements are done" in capsys.readouterr().out
    assert stored(swept).read_bytes() == before


def test_what_was_interrupted_goes_on(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed within its last lines, a measurement is taken up where it was, and comes to the same numbers."""
    shutil.copytree(swept / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    file = stored(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-3]) + lines[-3][:100])
    done = len(records.load(file, kind=InterventionsRecord))
    assert 0 < done < len(measured(swept))
    capsys.readouterr()
    assert run(*MEASURE) == 0
    assert f"{done} of {len(measured(swept))} measurements are done" in capsys.readouterr().out

    def counts(folder: Path) -> dict[tuple[object, ...], object]:
        return {record.key: record.interventions for record in measured(folder)}

    assert counts(tmp_path) == counts(swept)


def test_another_way_is_measured_anew(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(swept / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    chosen = ("--task", "cot", "--pe", "rope", "--format", "csv")
    assert run(*MEASURE, *chosen, "--exchange", "near", "--sequences", "5", "interventions.at=[8,31]") == 0
    near = [record for record in measured(tmp_path) if record.interventions.exchange == "near"]
    assert [record.interventions.positions for record in near] == [(8, 31)] * len(near)
    assert [record.interventions.sources for record in near] == [(7, 30)] * len(near)
    assert {record.interventions.sequences for record in near} == {5}
    assert len(measured(tmp_path)) == len(measured(swept)) + len(near)  # the others stand beside them
    assert (stored(tmp_path).parent / "interventions-near.csv").exists()
    # Two ways of one exchange are never pooled.
    assert run(*MEASURE, *chosen, "--sequences", "5") == 0
    assert run("interventions", "--profile", "smoke", "--format", "terminal") == 2


def test_a_dry_run_estimates_and_measures_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stored(swept).read_bytes()
    assert run(*MEASURE, "--exchange", "near", "--dry-run") == 0
    out = capsys.readouterr().out
    assert f"0 of {len(measured(swept))} measurements are done" in out
    assert "about" in out
    assert "wrote" not in out
    assert stored(swept).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sequences", "0"], "interventions.sequences=0: use 1 to"),
        (["--exchange", "middle"], "interventions.exchange=middle: use far or near"),
        (["--measure", "--positions", "0"], "interventions.positions=0: use 1 to"),
        (["--sequences", "8"], "--sequences=8: needs --measure"),
        (["--dry-run"], "--dry-run=True: needs --measure"),
        (["--exchange", "near"], "no record in which the near token was exchanged"),
        (["--measure", "--pe", "yarm"], "did you mean yarn?"),
        (["--task", "recursiv"], "task=recursiv: no record of it"),
        (["--measure", "interventions.at=[3]"], "interventions.at=[3]: 3 has no answer on cot; use positions 4 to 31"),
        (["--measure", "interventions.at=[9,8]"], "use growing positions"),
        (["--measure", "interventions.att=[9]"], "interventions.att=[9]: did you mean interventions.at?"),
        (["--measure", "paths.runs=nowhere"], "paths.runs=nowhere: none of the"),
        (["--protocol", "released"], "protocol=released: no record of it"),
        (["--format", "pgn"], "format=pgn: did you mean png?"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    swept: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    before = sorted(swept.rglob("*"))
    assert run("interventions", "--profile", "smoke", *words) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(swept.rglob("*")) == before


@pytest.mark.slow
def test_labels_and_interleaved_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden answers are labels, interleaved ones stand at every second position and have a far token every other
    time."""
    monkeypatch.chdir(tmp_path)
    tasks = "semi_recursive_hidden,semi_recursive_interleaved"
    what = ("--task", tasks, "--pe", "rope", "--protocol", "paper", "--threads", "1")
    assert run("sweep", "--profile", "smoke", *what) == 0
    assert run(*MEASURE, "--format", "markdown") == 0
    tested = {record.task: record for record in records.load(tmp_path / "results" / "smoke" / "records.jsonl")}
    for record in measured(tmp_path):
        done, source = record.interventions, tested[record.task]
        assert record.ood_accuracy == pytest.approx(source.ood_accuracy)
        for at, right in zip(done.positions, done.right, strict=True):
            assert right == round(16 * ((source.accuracy_by_position or ())[at] or 0.0))
        assert set(done.answers) == {16}
        places = list(zip(done.positions, done.sources, strict=True))
        if record.task == "semi_recursive_hidden":
            assert all(source == (at - 4) // 2 for at, source in places)
        else:  # fresh tokens stand at even positions, answers at odd ones
            assert all((at % 2, source % 2) == (1, 0) for at, source in places)
            assert len(dict(places)) == len({source for _, source in places})
    text = (stored(tmp_path).parent / "interventions.md").read_text()
    assert "| paper | Semi-recursive, hidden answers | RoPE | all |" in text
    assert "answers are fed back" not in text


def test_a_task_without_far_tokens_has_none_to_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    what = ("--task", "recursive", "--pe", "rope", "--protocol", "paper", "--threads", "1", "task.far=0")
    assert run("sweep", "--profile", "smoke", *what) == 0
    assert run("interventions", "--measure", "--profile", "smoke+task.far=0") == 2
    assert "interventions.exchange=far: no answer of recursive depends on such a token" in capsys.readouterr().err


def test_records_of_interventions_fill_no_other_table(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("table1", "lengths"):
        assert run(command, "--records", str(stored(swept)), "--out", "elsewhere") == 2
        said = capsys.readouterr().err
        assert f"show them with `posgen interventions --records {stored(swept)}`" in said
        assert said.count("\n") == 1
    assert not (swept / "elsewhere").exists()


def test_they_are_verified(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "results") == 0
    lines = stored(swept).read_text().splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"training", "interventions"}
    assert "all are as they were written" in capsys.readouterr().out


def test_the_committed_records_without_them_name_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(results() / "narrow", tmp_path / "results" / "narrow", ignore=shutil.ignore_patterns("*.png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert run("interventions", "--profile", "narrow") == 2
    assert "make them with `posgen interventions --measure --profile narrow`" in capsys.readouterr().err
