"""`posgen clean`: it shows what nobody needs, removes exactly that, and keeps what is running, needed or in doubt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.store import states
from eval.store.cleaning import survey
from eval.store.leases import LEASE
from eval.store.records import LOCK, load
from eval.store.removing import remove
from eval.store.runs import Run
from posgen import leftovers
from posgen.leftovers import beside
from tests.command import run
from tests.eval.running.test_sweep import StopAfter, measured, planned, run_sweep, settings

SWEEP = ("sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--protocol", "paper", "--threads", "1")
RUNS, DATA = Path("results/runs"), Path("results/data")
NOBODY = 2**22 + 1  # above the greatest process number of Linux
OLD = 86_400.0


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished trainings with their records, and a data set that they use."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*SWEEP) == 0
    return folder


@pytest.fixture(autouse=True)
def place(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as the current folder; beside it, what must never change."""
    shutil.copytree(swept, tmp_path / "work")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    for folder in folders():
        report(folder, recorded=[str(tmp_path / "work" / "results" / "smoke" / "records.jsonl")])
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def untouched(place: Path) -> Iterator[None]:
    """Whatever a test cleans, what lies outside stays."""
    yield
    assert (place.parent / "outside" / "precious").read_text() == "mine"


def content(folder: Path) -> dict[str, bytes]:
    """Without leases: taking a folder and giving it back leaves a later number."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(LEASE)]
    return {str(path): path.read_bytes() for path in files}


def cleaned(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What it prints; records stay as they are, whatever is cleaned."""
    capsys.readouterr()
    before = {path: path.read_bytes() for path in Path("results").rglob("records.jsonl")}
    assert run("clean", *options) == 0
    assert {path: path.read_bytes() for path in Path("results").rglob("records.jsonl")} == before
    return capsys.readouterr().out


def shown(out: str) -> set[str]:
    """The paths that would go."""
    return {line.split()[-1] for line in out.splitlines() if line.startswith("  ")}


def gone(capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    """What `posgen clean --yes` removes; exactly what it shows without."""
    told = shown(cleaned(capsys, *options))
    before = content(Path("results"))
    out = cleaned(capsys, *options, "--yes")
    assert shown(out) == told
    after = content(Path("results"))
    missing = before.keys() - after.keys()
    assert {path for path in missing if not any(path == t or path.startswith(f"{t}/") for t in told)} == set()
    assert all(any(path == t or path.startswith(f"{t}/") for path in missing) for t in told)
    return missing


def folders() -> list[Path]:
    return sorted(path.parent for path in RUNS.glob("*/run.json"))


def report(folder: Path, **entries: Any) -> None:
    Run(folder.parent, folder.name).report(**entries)


def made(path: Path, text: str = "x" * 2000, age: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    at = path.stat().st_mtime - age
    os.utime(path, (at, at))
    return path


def without_records() -> None:
    Path("results/smoke/records.jsonl").unlink()


def test_a_finished_sweep_has_nothing_to_remove(capsys: pytest.CaptureFixture[str]) -> None:
    before = content(Path())
    assert cleaned(capsys) == "there is nothing to remove\n"
    assert cleaned(capsys, "--yes") == "there is nothing to remove\n"
    assert content(Path()) == before


def test_nothing_goes_before_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    file = made(RUNS / states.FOLDER / f"{'a' * 12}-{7:09d}-{'b' * 16}.pt")
    out = cleaned(capsys)
    assert "states that no unfinished run goes on from: 1, 2.0 KiB" in out
    assert shown(out) == {str(file)}
    assert "2.0 KiB could be freed; nothing has been removed" in out
    assert file.exists()
    assert "removed 1 of 1, 2.0 KiB freed" in cleaned(capsys, "--yes")
    assert not file.exists()


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cleaned(capsys, "--json") == ""
    file = made(RUNS / states.FOLDER / f"{'a' * 12}-{7:09d}-{'b' * 16}.pt")
    why = "states that no unfinished run goes on from"
    row = {"path": str(file), "kind": "states", "why": why, "bytes": 2000, "status": "removable"}
    assert json.loads(cleaned(capsys, "--json")) == row
    assert file.exists()
    assert json.loads(cleaned(capsys, "--json", "--yes")) == row | {"status": "removed"}
    assert not file.exists()


def test_states_go_when_nobody_goes_on_from_them_and_never_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted sweep that is cleaned ends as one that is not."""
    members = planned("optim.epochs=6")[:2]
    here, there = tmp_path / "here" / "results", tmp_path / "there"
    paths = (f"paths.results={here}", f"paths.runs={here}/runs", f"paths.data={here}/data")
    run_sweep(members, settings(here), StopAfter(3))
    (file,) = (here / "runs" / states.FOLDER).glob("*.pt")
    population = states.population_in(file.name)
    older = made(file.with_name(f"{population}-{0:09d}-{'c' * 16}.pt"))
    assert shown(cleaned(capsys, *paths, "--yes")) == {str(older)}
    assert file.exists()
    kept = file.read_bytes()
    assert len(run_sweep(members, settings(here)).finished) == 2
    run_sweep(members, settings(there))
    assert measured(here) == measured(there)
    file.write_bytes(kept)  # as if the process had been killed before it removed it
    legacy = made(here / "runs" / members[0].spec.run_id / "state.pt")
    assert shown(cleaned(capsys, *paths, "--yes")) == {str(file), str(legacy)}


@pytest.mark.parametrize(
    "name",
    [
        f"results/runs/{states.FOLDER}/.{'a' * 12}.new.{NOBODY}.tmp", f"results/runs/{states.FOLDER}/{'a' * 12}.new",
        f"results/smoke/.table1.md.{NOBODY}.tmp", f"results/runs/RUN/.run.json.{NOBODY}.tmp",
        f"results/smoke/.table1.md.{leftovers.machine()}-{NOBODY}-{'c' * 8}.tmp",
        f"results/smoke/.table1.md.{'0' * 8}-1-{'c' * 8}.tmp",
    ],
)  # fmt: skip
def test_what_killed_processes_left_goes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(Path(name.replace("RUN", folders()[0].name)))
    assert gone(capsys, "--states") == {str(file)}


def test_what_may_be_being_written_stays(capsys: pytest.CaptureFixture[str]) -> None:
    made(Path("results/smoke") / f".table1.md.{os.getpid()}.tmp")
    made(beside(Path("results/smoke/table1.tex")))
    made(Path("results/smoke") / f".table1.csv.{NOBODY}.tmp", age=0)
    made(DATA / f".cot-{'a' * 12}.{os.getpid()}-{'b' * 8}" / "train.parquet")
    made(RUNS / states.FOLDER / "notes.txt")
    assert cleaned(capsys, "--yes") == "there is nothing to remove\n"


def test_runs_that_no_record_names_go_and_are_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    records = Path("results/smoke/records.jsonl")
    before = [(r.run_id, r.metrics, r.accuracy_by_position) for r in load(records)]
    without_records()
    lost = folders()
    out = cleaned(capsys, "--weights")
    assert "finished runs, with their weights, that no record names: 2" in out
    assert gone(capsys, "--weights") >= {str(folder / "history.json") for folder in lost}
    assert [path for folder in lost for path in folder.iterdir() if not path.name.startswith((LOCK, LEASE))] == []
    assert run(*SWEEP) == 0
    assert [(r.run_id, r.metrics, r.accuracy_by_position) for r in load(records)] == before


def test_the_only_copy_of_a_result_stays(capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, and killed before it was measured."""
    without_records()
    for folder in folders():
        report(folder, recorded=[])
    out = cleaned(capsys, "--weights", "--all-weights", "--yes")
    assert out.count("trained and not measured yet; the sweep that trained it does that") == 2
    assert "there is nothing to remove" in out


def test_records_anywhere_below_results_or_where_the_run_says_count(place: Path) -> None:
    one, other = folders()
    lines = Path("results/smoke/records.jsonl").read_text()
    elsewhere = made(place.parent / "elsewhere" / "records.jsonl", lines)
    without_records()
    report(one, recorded=[str(elsewhere)])
    report(other, recorded=None)
    assert survey(Path("results"), RUNS, DATA, ["weights"]).items == []
    elsewhere.unlink()
    made(Path("results/any/where/records.jsonl"), lines)
    assert survey(Path("results"), RUNS, DATA, ["weights"]).items == []


def test_a_version_that_did_not_say_where_it_recorded_is_judged_by_records_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = folders()
    for folder in (one, other):
        report(folder, recorded=None)
    records = Path("results/smoke/records.jsonl")
    kept = [line for line in records.read_text().splitlines(True) if one.name not in line]
    records.unlink()
    out = cleaned(capsys, "--weights")
    assert out.count("there are no records below results to look it up in") == 2
    assert shown(out) == set()
    records.write_text("".join(kept))
    assert shown(cleaned(capsys, "--weights")) == {str(one)}
    records.write_text("".join(kept) + '{"kind":"accuracy"\n')
    out = cleaned(capsys, "--weights")
    assert "cannot be read whole and may name it" in out
    assert shown(out) == set()


def test_weights_that_the_history_does_not_list_go(capsys: pytest.CaptureFixture[str]) -> None:
    stray = made(folders()[0] / "weights-other.safetensors")
    assert gone(capsys) == {str(stray)}


def test_all_weights_go_when_asked_and_the_numbers_stay(capsys: pytest.CaptureFixture[str]) -> None:
    weights = {str(path) for path in RUNS.glob("*/weights-*.safetensors")}
    assert gone(capsys, "--all-weights") == weights
    assert run("verify") == 0
    capsys.readouterr()
    assert run("status", "--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--protocol", "paper") == 0
    assert "2 done, of 2" in capsys.readouterr().out
    assert cleaned(capsys, "--all-weights") == "there is nothing to remove\n"
    assert run("evaluate", folders()[0].name) == 2
    error = capsys.readouterr().err
    assert "was removed by posgen clean at" in error
    assert "--fresh" in error


def test_data_sets_that_no_run_refers_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    (used,) = DATA.iterdir()
    assert run("generate", "--profile", "smoke", "--task", "recursive") == 0
    (unused,) = set(DATA.iterdir()) - {used}
    assert shown(cleaned(capsys)) == {str(unused)}
    names = ("manifest.json", "train.parquet", "validation.parquet", "test.parquet")
    assert gone(capsys, "--data") == {str(unused / name) for name in names}
    assert not unused.exists()
    assert used.exists()


def test_stale_data_sets_go_though_a_run_refers_to_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (used,) = DATA.iterdir()
    with monkeypatch.context() as patch:  # a later version that draws other sequences
        patch.setattr("posgen.dataset.generate", lambda task, prefixes, length: 0)
        assert "stale data sets: their sequences do not follow the present rule: 1" in cleaned(capsys)
    manifest = json.loads((used / "manifest.json").read_text())
    (used / "manifest.json").write_text(json.dumps({**manifest, "format_version": 0}))
    assert "stale data sets: of format version 0, and this posgen writes 1: 1" in cleaned(capsys)
    (used / "manifest.json").write_text(json.dumps(manifest))
    renamed = used.rename(used.with_name(f"cot-{'0' * 12}"))
    assert "stale data sets: their parameters have another identity now: 1" in cleaned(capsys, "--yes")
    assert not renamed.exists()


def test_folders_of_others_among_the_data_stay(capsys: pytest.CaptureFixture[str]) -> None:
    (used,) = DATA.iterdir()
    shutil.rmtree(RUNS)
    made(used / "notes.txt")
    made(DATA / f"cot-{'0' * 12}" / "train.parquet")  # without a manifest
    made(DATA / "mine" / "train.parquet")
    out = cleaned(capsys, "--yes")
    assert "holds notes.txt, which posgen did not write" in out
    assert f"kept: {DATA}/cot-{'0' * 12}: unreadable: " in out
    assert "there is nothing to remove" in out
    damaged = used / "train.parquet"
    (used / "notes.txt").unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert f"kept: {used}: unreadable: " in cleaned(capsys, "--yes")


def test_what_a_process_has_stays(capsys: pytest.CaptureFixture[str]) -> None:
    without_records()
    held, free = folders()
    for folder in (held, free):
        made(folder / "weights-other.safetensors")
        made(folder / "state.pt")
    new = made(RUNS / states.FOLDER / f"{'a' * 12}-{7:09d}-{'b' * 16}.pt", age=0)
    assert run("generate", "--profile", "smoke", "--task", "recursive") == 0
    claimed = Run(RUNS, held.name)
    assert claimed.claim()
    before, data = content(held), content(DATA)
    out = cleaned(capsys, "--all-weights", "--yes")
    assert not [path for path in shown(out) if held.name in path or "data" in path]
    assert "a training is running" in out
    assert (content(held), content(DATA), new.exists()) == (before, data, True)
    assert not (free / "history.json").exists()
    claimed.release()
    assert shown(cleaned(capsys)) >= {str(held), str(new)}


def test_what_is_taken_or_changed_between_showing_and_removing_stays() -> None:
    without_records()
    one, other = folders()
    items = survey(Path("results"), RUNS, DATA, ["weights"]).items
    claimed = Run(RUNS, one.name)
    assert claimed.claim()
    before = content(one)
    report(other, recorded=["elsewhere"])  # measured meanwhile
    removed, kept = remove(items)
    assert removed == []
    assert dict(kept) == {one: "a process has taken its run since", other: "it changed since it was listed"}
    assert content(one) == before
    assert (other / "history.json").exists()
    claimed.release()


def test_links_are_not_followed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = place.parent / "outside"
    without_records()
    one, other = folders()
    shutil.move(one, outside / one.name)
    one.symlink_to(outside / one.name)
    (used,) = DATA.iterdir()
    shutil.move(used, outside / used.name)
    used.symlink_to(outside / used.name)
    for path in other.glob("weights-*"):
        path.unlink()
        path.symlink_to(outside / "precious")
    shutil.rmtree(RUNS / states.FOLDER, ignore_errors=True)
    made(outside / "states" / f"{'a' * 12}-{7:09d}-{'b' * 16}.pt")
    (RUNS / states.FOLDER).symlink_to(outside / "states")
    before = content(outside)
    assert before
    out = cleaned(capsys, "--all-weights", "--yes")
    assert content(outside) == before
    assert {path for path in (one, used, RUNS / states.FOLDER) if path.is_symlink()} == {
        one, used, RUNS / states.FOLDER
    }  # fmt: skip
    assert shown(out) == {str(other)}


@pytest.mark.parametrize(("name", "text"), [("run.json", "{"), ("run.json", "[]"), ("history.json", "{}")])
def test_a_run_that_cannot_be_read_keeps_all_that_may_be_its_own(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    without_records()
    damaged, other = folders()
    (damaged / name).write_text(text)
    made(damaged / "state.pt")
    state = made(RUNS / states.FOLDER / f"{'a' * 12}-{7:09d}-{'b' * 16}.pt")
    assert run("generate", "--profile", "smoke", "--task", "recursive") == 0
    before = content(damaged)
    out = cleaned(capsys, "--all-weights", "--yes")
    assert f"kept: {damaged}: unreadable: " in out
    assert name in out
    assert f"kept: {state}: run {damaged.name} is unreadable and may go on from it" in out
    assert out.count("is unreadable and may need it") == 1
    assert content(damaged) == before
    assert shown(out) == {str(other)}


def test_what_git_tracks_stays(capsys: pytest.CaptureFixture[str]) -> None:
    without_records()
    committed, _ = folders()
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "add", "-f", str(committed / "history.json")], check=True)
    out = cleaned(capsys, "--yes")
    assert f"kept: {committed}: git tracks it" in out
    assert (committed / "history.json").exists()


def test_without_any_folder_there_is_nothing_and_none_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert cleaned(capsys, "paths.results=nowhere") == "there is nothing to remove\n"
    assert not Path("nowhere").exists()
    assert run("clean", "optim.lr=1") == 2
