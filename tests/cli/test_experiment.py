"""`posgen experiment` for real, at the smoke profile: declared, run, resumed, judged, edited, reported."""

from __future__ import annotations

import csv
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eval.store.kinds import AccuracyRecord, Declared
from eval.store.records import load
from tests.command import run
from tests.declared import experiment, write

HYPOTHESES = [
    {"name": "H1", "claim": "p-RoPE raises OOD accuracy.", "effect": ["p_rope"], "direction": "higher"},
    {"name": "H2", "claim": "Nothing leaves chance.", "against": "chance", "direction": "equal", "margin": 50},
]
DECLARED = {"hypotheses": HYPOTHESES, "interactions": [["p_rope", "resonance"]]}
RECORDS = "results/smoke/experiments/tiny/records.jsonl"
RUN = ("experiment", "run", "tiny.yaml", "--threads", "1")


def records(folder: Path) -> list[AccuracyRecord]:
    return load(folder / RECORDS)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the experiment was declared and run."""
    folder = tmp_path_factory.mktemp("experiment")
    write(folder, **DECLARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*RUN) == 0
    return folder


@pytest.fixture(autouse=True)
def workplace(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ran)
    return ran


def test_every_cell_is_trained_and_measured_as_declared(ran: Path) -> None:
    made = records(ran)
    cells = ["rope", "resonance", "p_rope", "p_rope+resonance"]
    assert {(r.pe, r.task, r.seed) for r in made} == set(itertools.product(cells, ["recursive", "cot"], [1, 2, 3]))
    assert len(made) == 24
    for r in made:
        assert r.experiment == Declared("tiny", experiment(**DECLARED).digest)
        assert (r.profile, r.sweep, r.protocols, r.status) == ("smoke", "smoke-tiny", ("paper",), "finished")
        assert r.train_encoding == r.test_encoding == r.pe
        assert (r.spec.scaling, r.spec.resonance) == ("p_rope" if "p_rope" in r.pe else "none", "resonance" in r.pe)
        assert r.spec.params == ({"p": 0.28125} if "p_rope" in r.pe else {})


def test_the_first_cell_is_the_training_of_table_1(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell is no other training because an experiment asks for it."""
    arguments = ("--profile", "smoke", "--task", "cot", "--pe", "rope", "--seed", "1", "--threads", "1")
    assert run("train", *arguments) == 0
    assert "1 already trained, now measured" in capsys.readouterr().out
    (alone,) = load(ran / "results/runs/records.jsonl")
    (cell,) = [r for r in records(ran) if (r.pe, r.task, r.seed) == ("rope", "cot", 1)]
    assert (alone.run_id, alone.metrics) == (cell.run_id, cell.metrics)
    assert alone.experiment is None
    assert b'"experiment"' not in (ran / "results/runs/records.jsonl").read_bytes()


def test_the_same_call_again_trains_nothing(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (ran / RECORDS).read_bytes()
    assert run(*RUN) == 0
    assert "24 already finished" in capsys.readouterr().out
    assert (ran / RECORDS).read_bytes() == before


def test_what_was_lost_is_measured_again_with_the_same_numbers(ran: Path, tmp_path: Path) -> None:
    whole = {(r.pe, r.task, r.seed): r.metrics for r in records(ran)}
    lines = (ran / RECORDS).read_bytes().splitlines(keepends=True)
    try:
        (ran / RECORDS).write_bytes(b"".join(lines[: len(lines) // 2]))  # as after a kill in the middle
        assert 0 < len(records(ran)) < 24
        assert run(*RUN) == 0
        assert {(r.pe, r.task, r.seed): r.metrics for r in records(ran)} == whole
    finally:
        (ran / RECORDS).write_bytes(b"".join(lines))


def test_show_has_the_design_its_cost_and_its_power(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("experiment", "show", "tiny.yaml", "--threads", "1") == 0
    out = capsys.readouterr().out
    for words in (
        f"digest {experiment(**DECLARED).digest}", "scaling=p_rope p=0.28125", "p-RoPE + Resonance",
        "What the seeds can find", "24 tests of 24 trainings", "nothing has been trained",
    ):  # fmt: skip
        assert words in out
    assert run("experiment", "show", "tiny.yaml", "--no-estimate", "--format", "markdown") == 0
    out = capsys.readouterr().out
    assert "| p_rope+resonance | p-RoPE + Resonance | p_rope | resonance |" in out
    assert "trainings" not in out


def test_judged_from_records_alone_without_torch(ran: Path) -> None:
    words = ["experiment", "judge", "tiny.yaml", "--format", "markdown,csv,latex,png,svg", "--out", "drawn"]
    code = (
        "import sys; from cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'pandas', 'hydra'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ran, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (ran / "drawn").iterdir()) == [
        "effects-tiny.png", "effects-tiny.svg", "tiny.csv", "tiny.md", "tiny.tex"
    ]  # fmt: skip
    text = (ran / "drawn/tiny.md").read_text()
    assert "H2 held (2 of 2 comparisons as it says): Nothing leaves chance." in text
    assert "Missing" not in text
    stored = {(r.pe, r.task, r.seed): 100 * (r.ood_accuracy or 0.0) for r in records(ran)}
    rows = list(csv.DictReader((ran / "drawn/tiny.csv").open()))
    (row,) = [r for r in rows if (r["kind"], r["contrast"], r["task"]) == ("effect", "p-RoPE × Resonance", "cot")]
    by_hand = [
        stored["p_rope+resonance", "cot", seed] - stored["resonance", "cot", seed]
        - stored["p_rope", "cot", seed] + stored["rope", "cot", seed]
        for seed in (1, 2, 3)
    ]  # fmt: skip
    assert [float(value) for value in row["values"].split()] == pytest.approx(by_hand, abs=1e-4)


def test_judged_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("experiment", "judge", "tiny.yaml") == 0
    out = capsys.readouterr().out
    assert "Not shown to be declared before" in out
    assert "it cannot tell which commit" in out  # the file lies outside of the suite's work tree
    assert out.rstrip().endswith("Nothing leaves chance.")  # the verdicts stand last


def test_an_edited_declaration_is_refused_before_anything_is_trained_or_judged(
    ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (ran / RECORDS).read_bytes()
    try:
        write(ran, **DECLARED, question="What if it is asked otherwise afterwards?")
        for arguments in (RUN, ("experiment", "judge", "tiny.yaml")):
            assert run(*arguments) == 2
            line = capsys.readouterr().err
            assert re.fullmatch(r"posgen: error: [^\n]+restore the declaration as it was, or declare[^\n]+\n", line)
        assert (ran / RECORDS).read_bytes() == before
    finally:
        write(ran, **DECLARED)


@pytest.mark.slow
def test_settings_that_change_numbers_make_a_profile_that_is_not_declared(
    ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*RUN, "optim.epochs=1") == 0
    path = ran / "results/smoke+optim.epochs=1/experiments/tiny/records.jsonl"
    assert len(load(path)) == 24
    capsys.readouterr()
    assert run("experiment", "judge", "tiny.yaml", "--profile", "smoke+optim.epochs=1") == 0
    assert "This profile is not declared: what it shows decides nothing." in capsys.readouterr().out


@pytest.mark.slow
def test_sizes_that_are_declared_are_the_profiles_and_lie_beside_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = [{"name": "smoke", "seeds": [1, 2], "settings": {"optim.epochs": 1}}]
    write(tmp_path, **DECLARED, tasks=["cot"], profiles=short)
    assert run(*RUN) == 0
    made = records(tmp_path)
    assert {(r.profile, r.training.optim.epochs) for r in made} == {("smoke+optim.epochs=1", 1)}
    assert len(made) == 8
    capsys.readouterr()
    assert run("experiment", "judge", "tiny.yaml", "--profile", "smoke") == 0
    out = capsys.readouterr().out
    assert "Profile smoke+optim.epochs=1" in out
    assert "not declared" not in out.replace("seeds that are not declared", "")
    assert run(*RUN, "optim.epochs=2") == 2
    assert "optim.epochs=2: is what experiment tiny declares; leave it out" in capsys.readouterr().err


def test_missing_records_are_named_and_nothing_is_judged(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [line for line in (ran / RECORDS).read_bytes().splitlines(keepends=True) if b'"seed":3' not in line]
    (tmp_path / "part.jsonl").write_bytes(b"".join(kept))
    assert run("experiment", "judge", "tiny.yaml", "--records", str(tmp_path / "part.jsonl")) == 0
    out = capsys.readouterr().out
    assert "Missing: 8 of 24 tests (Recursive: all cells, seed 3; CoT: all cells, seed 3)" in out
    assert out.count("incomplete (") == 2


@pytest.mark.slow
def test_a_worker_elsewhere_names_the_experiment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, **DECLARED, tasks=["cot"])
    assert run(*RUN, "backend=post") == 0
    assert not (tmp_path / RECORDS).exists()
    assert run("work", "--threads", "1") == 0
    made = records(tmp_path)
    assert len(made) == 12
    assert {r.experiment for r in made} == {Declared("tiny", experiment(**DECLARED, tasks=["cot"]).digest)}


def test_the_page_has_a_section_for_it(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope", "--threads", "1") == 0
    assert run("report", "--profile", "smoke") == 0
    page = (ran / "results/smoke/report.html").read_text()
    assert "Declared experiment: tiny" in page
    # A user's own declaration is no part of the suite, which the page can only say.
    assert "posgen experiment run tiny --profile smoke" in page


@pytest.mark.slow
def test_the_page_shows_what_the_suite_declares(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("conf.experiments.find", lambda name: ran / f"{name}.yaml")
    assert run("sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope", "--threads", "1") == 0
    assert run("report", "--profile", "smoke") == 0
    assert "not measured: Declared experiment" not in capsys.readouterr().out
    page = (ran / "results/smoke/report.html").read_text()
    section = page.split('id="experiment-tiny"')[1].split("<section")[0]
    text = re.sub(r"<[^>]+>", " ", section)
    assert "Nothing leaves chance." in text
    assert "H2 held (2 of 2 comparisons as it says)" in " ".join(text.split())
    assert "Dot plot, an effect a line" in section  # the figure, in words


def test_status_shows_the_grid(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("experiment", "status", "tiny.yaml") == 0
    assert "24 done, of 24" in capsys.readouterr().out
    lines = (ran / RECORDS).read_bytes()
    try:
        (ran / RECORDS).unlink()
        assert run("experiment", "status", "tiny.yaml") == 0
        out = capsys.readouterr().out
        assert "24 unmeasured, of 24" in out
        assert "`posgen experiment run tiny.yaml --profile smoke` does what is left" in out
    finally:
        (ran / RECORDS).write_bytes(lines)


def test_the_list_names_what_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("experiment") == 0
    assert capsys.readouterr().out.startswith("name")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "tinny.yaml"], "experiment=tinny.yaml: there is no such file"),
        (["run", "clipp"], "experiment=clipp"),
        (["run", "tiny.yaml", "--profile", "quick"], "profile=quick: is not declared by tiny; one of smoke"),
        (["run", "tiny.yaml", "pe.base=64"], "pe.base=64: is what experiment tiny declares; leave it out"),
        (["run", "tiny.yaml", "protocol.bos=false"], "protocol.bos=false: is what experiment tiny declares"),
        (["run", "tiny.yaml", "task=cot"], "task=cot: is not supported by this command"),
        (["run", "tiny.yaml", "optim.lr=fast"], "optim.lr=fast: use a number"),
        (["run", "tiny.yaml", "optim.lr=1,2"], "optim.lr=1,2: give one value"),
        (["run", "bad.yaml"], "cell warm: pe.base=warm: use a number"),
        (["judge", "tiny.yaml", "--format", "html"], "format=html"),
        (["judge", "tiny.yaml"], "posgen experiment run tiny --profile smoke"),
        (["judge", "tiny.yaml", "--records", "none.jsonl"], "none.jsonl"),
        (["show", "broken.yaml"], "broken.yaml: titel is not known"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, **DECLARED)
    (tmp_path / "broken.yaml").write_text((tmp_path / "tiny.yaml").read_text().replace("title:", "titel:", 1))
    warm = {"name": "f", "levels": [{"name": "cold"}, {"name": "warm", "settings": {"base": "warm"}}]}
    hypothesis = {"name": "H", "claim": "x", "effect": ["f"], "direction": "higher"}
    write(tmp_path, name="bad", factors=[warm], hypotheses=[hypothesis])
    files = sorted(tmp_path.iterdir())
    assert run("experiment", *arguments) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert told in err
    assert sorted(tmp_path.iterdir()) == files
