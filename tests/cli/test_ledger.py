"""`posgen ledger`, `sweep --ledger` and `sweep --league` for real, at the smoke profile."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conf.ledger import ledger
from eval.evidence.ledger.tables import print_ledger
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.command import run

SMOKE = ("--profile", "smoke", "--task", "cot", "--threads", "1")
LEDGER = ("sweep", *SMOKE, "--ledger", "--pe", "rope,yarn", "--rows", "2,5,7,16", "--direction", "paper")


def records(folder: Path) -> list[AccuracyRecord]:
    return load(folder / "records.jsonl")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a part of the ledger was swept, and then the same cells of Table 1."""
    folder = tmp_path_factory.mktemp("ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*LEDGER) == 0
        assert run("sweep", *SMOKE, "--pe", "rope,yarn", "--protocol", "paper") == 0
    return folder


@pytest.fixture(autouse=True)
def workplace(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(swept)
    return swept


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_ledger_fits_the_terminal_and_loses_no_word(width: int) -> None:
    import io

    from rich.console import Console

    out = io.StringIO()
    print_ledger(ledger(), Console(file=out, width=width))
    *table, note, _ = out.getvalue().split("\n")
    assert max(len(line.rstrip()) for line in table) <= min(width, 120)
    assert "paper" in note
    shown = out.getvalue()
    assert "…" not in shown
    for row in ledger().rows:
        for switch in row.switches:
            assert f"{switch.key}=" in shown
        for word in f"{row.topic} {row.text} {row.code}".split():
            assert word in shown or len(word) > 12  # a longer one may be broken


def test_the_ledger_is_printed_as_markdown_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "--format", "markdown") == 0
    text = capsys.readouterr().out
    assert "| 8 | Depth | 2 layers | 6 with the README's command | null | `protocol.layers` | model |" in text
    assert run("ledger", "--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [int(row["number"]) for row in rows] == [1, 2, 3, 4, 4, 5, 7, 8, 9, 11, 13, 14, 16, 26]
    assert run("ledger") == 0
    assert "YaRN while" in capsys.readouterr().out


def test_the_sweep_stands_alone_with_its_base(swept: Path) -> None:
    found = {(p, r.pe, r.accuracy_mode) for r in records(swept / "results/smoke/ledger") for p in r.protocols}
    truly = {
        (f"paper{overridden}", pe, "teacher_forced")
        for overridden in ("", "+train_with=plain", "+yarn_ramp=wavelength", "+freeze_ffn=true")
        for pe in ("rope", "yarn")
    }
    assert found == truly | {("paper+accuracy=free_running", pe, "free_running") for pe in ("rope", "yarn")}
    for r in records(swept / "results/smoke/ledger"):
        assert (r.profile, r.sweep) == ("smoke", "smoke-ledger")
        assert r.config["protocol"]["name"] == r.protocols[0]
        assert r.training.model.freeze_ffn == (r.protocols == ("paper+freeze_ffn=true",))


def test_the_base_has_the_numbers_of_table_1(swept: Path) -> None:
    """Whatever else a training is validated under, its own numbers are the same."""
    table = {r.pe: r for r in records(swept / "results/smoke")}
    assert set(table) == {"rope", "yarn"}
    for r in records(swept / "results/smoke/ledger"):
        if "paper" in r.protocols:
            assert r.metrics == table[r.pe].metrics
            assert r.accuracy_by_position == table[r.pe].accuracy_by_position


def test_running_free_is_what_evaluate_measures(swept: Path) -> None:
    free = {r.pe: r for r in records(swept / "results/smoke/ledger") if r.accuracy_mode == "free_running"}
    assert run("evaluate", *(r.run_id for r in free.values()), "--accuracy", "free_running", "--threads", "1") == 0
    again = {(r.run_id, r.pe): r for r in records(swept / "results/runs") if r.accuracy_mode == "free_running"}
    for pe, r in free.items():
        assert r.metrics == again[r.run_id, pe].metrics
        assert r.metrics is not None
        assert r.metrics.loss is None
        # What was planned to run free is no measurement after true tokens, and the other way round.
        assert "paper+accuracy=free_running" not in again[r.run_id, pe].protocols


def test_the_same_sweep_again_trains_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (swept / "results/smoke/ledger/records.jsonl").read_bytes()
    assert run(*LEDGER) == 0
    assert "5 already finished" in capsys.readouterr().out  # rope and yarn, yarn's other ramp, both with a freeze
    assert (swept / "results/smoke/ledger/records.jsonl").read_bytes() == before


def test_effects_and_heat_map_without_torch(swept: Path) -> None:
    words = ["ledger", "--effects", "--profile", "smoke", "--format", "markdown,csv,png,svg", "--out", "drawn"]
    code = (
        "import sys; from cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'pandas', 'hydra'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=swept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    contents = [{path.name: path.read_bytes() for path in (swept / "drawn").iterdir()}]
    assert run(*words) == 0
    contents.append({path.name: path.read_bytes() for path in (swept / "drawn").iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["effects-paper.png", "effects-paper.svg", "effects.csv", "effects.md"]
    text = contents[0]["effects.md"].decode()
    assert "profile smoke (smoke test, its numbers mean nothing)" in text.replace("Profile", "profile")
    line = next(line for line in text.splitlines() if "yarn_ramp=wavelength | no effect |" in line)
    assert re.search(r"\| no effect \| — \| [+-]\d+\.\d \| — \|$", line)


def test_an_effect_is_the_difference_of_the_records(swept: Path) -> None:
    assert run("ledger", "--effects", "--profile", "smoke", "--format", "csv", "--out", "numbers") == 0
    rows = list(csv.DictReader((swept / "numbers/effects.csv").open()))
    measured = [r for r in rows if r["task"] == "cot" and r["kind"] == "measured"]
    found = {(r["protocol"], r["pe"]): r for r in measured if r["pe"] != "mean"}
    stored = {(p, r.pe): r.ood_accuracy or 0.0 for r in records(swept / "results/smoke/ledger") for p in r.protocols}
    assert len(found) == 6  # a freeze and running free on both, and YaRN's training and ramp
    for (protocol, pe), row in found.items():
        change = stored[protocol, pe] - stored["paper", pe]
        assert float(row["change_points"]) == pytest.approx(100 * change, abs=1e-5)


def test_a_dry_run_estimates_and_trains_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = len(list((swept / "results/runs").iterdir()))
    assert (
        run("sweep", *SMOKE, "--ledger", "--pe", "rope", "--rows", "8,14,16", "--direction", "paper", "--dry-run") == 0
    )
    out = capsys.readouterr().out
    assert out.count("population of 1 member:") == 1
    assert "population of 3 members, 1 training:" in out  # three checkpoints of one training
    assert "1 free-running measurements" in out
    assert "nothing has been trained" in out
    assert len(list((swept / "results/runs").iterdir())) == runs


def of_the_league(place: Path, *options: str) -> list[str]:
    """The encodings of a league that is trained there; every one is measured as it was trained."""
    assert run("sweep", *SMOKE, "--league", *options, f"paths.results={place}", "tracker=none") == 0
    found = records(place / "smoke" / "league")
    for r in found:
        assert (r.status, r.protocols, r.sweep) == ("finished", ("paper",), "smoke-league")
        assert r.test_encoding.partition("~")[0] == r.pe
        assert r.train_encoding == ("rope" if r.pe == "log_n" else r.pe)  # log n changes nothing within L
        assert r.ood_accuracy is not None
    return sorted(r.pe for r in found)


# Of several structures: bias, embedding, scaling, polar, drawn positions, distances, rotation.
STRUCTURES = "alibi,learned,pi,pope,randomized,rerope,rope,yarn"


def test_encodings_of_several_structures_train_and_are_measured(swept: Path) -> None:
    assert of_the_league(swept / "results", "--pe", STRUCTURES) == STRUCTURES.split(",")


@pytest.mark.slow
def test_every_encoding_of_the_league_trains_and_is_measured(tmp_path: Path) -> None:
    from conf.overrides import choices

    assert of_the_league(tmp_path) == choices("pe")


def test_a_league_under_a_second_protocol_joins_the_first(swept: Path) -> None:
    """What is the same training under both is one run with the same numbers; scaled encodings share the plain one."""
    before = {r.pe: r for r in records(swept / "results/smoke/league")}
    assert run("sweep", *SMOKE, "--league", "--pe", "rope,yarn,pi", "--protocol", "zero_shot_text") == 0
    found = records(swept / "results/smoke/league")
    assert len(found) == len(before) + 2
    rope = next(r for r in found if r.pe == "rope")
    assert (rope.protocols, rope.run_id) == (("paper", "zero_shot_text"), before["rope"].run_id)
    assert rope.metrics == before["rope"].metrics
    late = {r.pe: r for r in found if r.protocols == ("zero_shot_text",)}
    assert {pe: (r.train_encoding, r.test_encoding.partition("~")[0]) for pe, r in late.items()} == {
        "yarn": ("rope", "yarn"),
        "pi": ("rope", "pi"),
    }
    for pe, r in late.items():
        one, other = r.metrics, before[pe].metrics
        assert one is not None
        assert other is not None
        assert one.loss != other.loss


def test_a_protocol_with_an_overridden_switch_can_be_trained_alone(swept: Path) -> None:
    assert run("train", *SMOKE, "--pe", "rope", "--protocol", "paper+schedule=constant") == 0
    (r,) = [r for r in records(swept / "results/runs") if r.protocols == ("paper+schedule=constant",)]
    assert r.training.optim.schedule.value == "constant"
    assert r.profile == "smoke"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sweep", "--rows", "1"], "rows=1: is for --ledger only"),
        (["sweep", "--direction", "paper"], "direction=paper: is for --ledger only"),
        (["sweep", "--ledger", "--league"], "give one"),
        (["sweep", "--ledger", "--protocol", "paper"], "protocol=paper: is not for --ledger, where --direction"),
        (["sweep", "--ledger", "protocol=paper"], "protocol=paper"),
        (["sweep", "--league", "--protocol", "papr"], "did you mean paper"),
        (["sweep", "--ledger", "--direction", "papper"], "did you mean paper"),
        (["sweep", "--ledger", "--rows", "one"], "rows=one: use whole numbers"),
        (["sweep", "--ledger", "--rows", "6"], "rows=6: the ledger has the rows"),
        (["sweep", "--ledger", "--rows", "13", "--direction", "released"], "rows=13"),
        (["sweep", "--league", "--pe", "rop"], "did you mean rope"),
        (["sweep", "--protocol", "paper+split=released"], "did you mean protocol.splits"),
        (["ledger", "--profile", "quick"], "profile=quick: needs --effects"),
        (["ledger", "--format", "png"], "format=png"),
        (["ledger", "--effects", "--format", "latex"], "format=latex"),
        (["ledger", "--effects"], "posgen sweep --ledger --profile quick"),
        (["ledger", "--effects", "--records", "none.jsonl"], "none.jsonl"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert told in err
    assert list(tmp_path.iterdir()) == []
