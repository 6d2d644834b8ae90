"""`posgen llm perplexity` as a user runs it, on the golden Llama: resume, settings, refusals, what is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from eval.store.lm_kinds import PerplexityRecord
from eval.store.records import check, load
from models import kernels
from tests.command import run
from tests.committed import ROOT
from tests.tiny_llama import DOCUMENTS, TRUNCATED, save, text, write_texts

ROPES = "none,yarn,resonance_yarn,dynamic_ntk"
SETTINGS = ("lengths=[32,64,96]", "short=keep")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and texts."""
    folder = tmp_path_factory.mktemp("place")
    save(folder / "tiny")
    write_texts(folder / "texts")
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder in which the model and texts lie: nothing has been measured in it."""
    for name in ("tiny", "texts"):
        (tmp_path / name).symlink_to(place / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(*words: str, rope: str = ROPES) -> int:
    return run("llm", "perplexity", "tiny", "--texts", "texts", "--rope", rope, "--dtype", "fp32", "--threads", "1",
               "--factor", "4", *SETTINGS, *words)  # fmt: skip


def stored(folder: Path) -> list[PerplexityRecord]:
    return load(folder / "results/llm/records.jsonl", kind=PerplexityRecord)


def numbers(folder: Path) -> dict[Any, Any]:
    """Everything of the records but when, and how fast, they were made."""
    changing = ("created", "seconds", "measured_by", "training")
    return {
        record.key: {name: value for name, value in msgspec.structs.asdict(record).items() if name not in changing}
        for record in stored(folder)
    }


KILLED = """
import os, signal, sys
from eval.store.losses import LossFiles
write, count = LossFiles.write, 0
def killed(self, *arguments):
    global count
    write(self, *arguments)
    count += 1
    if count == 7:
        os.kill(os.getpid(), signal.SIGKILL)
LossFiles.write = killed
from cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_what_was_killed_goes_on_and_equals_an_undisturbed_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["llm", "perplexity", "tiny", "--texts", "texts", "--rope", ROPES, "--dtype", "fp32", "--threads", "1",
             "--factor", "4", *SETTINGS]  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *words], cwd=here, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert len(stored(here)) == 6  # the seventh's losses are there, its record is not
    assert measure() == 0
    assert "7 of 19 passes are done" in capsys.readouterr().out
    undisturbed = here / "undisturbed"
    undisturbed.mkdir()
    for name in ("tiny", "texts"):
        (undisturbed / name).symlink_to(here / name)
    monkeypatch.chdir(undisturbed)
    assert measure() == 0
    assert numbers(here) == numbers(undisturbed)
    assert check(here / "results/llm/records.jsonl")[2] == []


def test_the_command_gives_the_golden_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32 tokens: each document's mean under yarn, s = 4 (the golden file), by way of files, records and table."""
    assert measure("yarn.beta_fast=32", "yarn.beta_slow=1") == 0
    (case,) = [c for c in TRUNCATED["cases"] if c["rope"].startswith("yarn") and c["length"] == 32]
    records = {record.document: record for record in stored(here) if record.encoding == "yarn"}
    nll = [records[name].at[0].nll for name in ("c", "d")]
    assert nll == pytest.approx(case["mean_nll_per_document"], rel=3e-6)
    out = capsys.readouterr().out
    assert "documents that reach a length: 32: 4, 64: 3, 96: 2" in out
    assert "Paired differences" in out
    assert "over 4 documents" in out


@pytest.mark.parametrize("slow", [True, False])
def test_a_cpu_with_slow_bf16_is_told_of(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr(kernels, "bf16_is_slow", lambda device: slow and device == "cpu")
    assert measure("--dtype", "bf16", "--dry-run", rope="none") == 0
    assert ("--dtype fp32 is several times faster here" in capsys.readouterr().err) is slow
    assert measure("--dry-run", rope="none") == 0
    assert "faster here" not in capsys.readouterr().err


def test_another_weighting_needs_no_pass(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(rope="none") == 0
    assert measure("weighting=document", rope="none") == 0
    assert "4 of 4 passes are done" in capsys.readouterr().out
    first, second = sorted({record.protocol_key for record in stored(here)})
    assert first != second
    assert {record.protocol["weighting"] for record in stored(here)} == {"token", "document"}


def test_records_alone_carry_half_a_plan_to_another_machine(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Half the records, no losses: what they hold is not measured again, and all comes out as of one run."""
    assert measure() == 0
    whole = numbers(here)
    assert len(whole) == 19
    file = here / "results/llm/records.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:10]))
    carried = stored(here)
    (here / "results/runs").rename(tmp_path_factory.mktemp("left") / "runs")
    capsys.readouterr()
    assert measure() == 0
    assert f"{len(carried)} of 19 passes are done" in capsys.readouterr().out
    assert file.read_text().splitlines(keepends=True)[:10] == lines[:10]
    assert numbers(here) == whole


def test_records_say_what_they_rest_on(here: Path) -> None:
    assert measure(rope="none") == 0
    record = stored(here)[0]
    assert record.protocol["corpus"]["documents"] == 4
    assert record.training.config["language_model"]["name"] == "tiny"
    assert record.measured_by.versions.keys() >= {"torch", "transformers", "posgen"}
    assert (record.train_length, record.factor, record.dtype) == (64, 4.0, "fp32")


def test_a_damaged_file_of_losses_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(rope="none") == 0
    file = sorted((here / "results/runs/llm/perplexity").rglob("*.npy"))[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert measure(rope="none") == 2
    assert "does not have its checksum" in capsys.readouterr().err


def test_sigterm_saves_the_window_at_hand(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.running.llm import perplexity

    windows = ("mode=sliding", "stride=8", "lengths=[32]")
    words = ("llm", "perplexity", "tiny", "--texts", "texts/d.txt", "--dtype", "fp32", "--threads", "1", *windows)
    loss, calls = perplexity.measure, []

    def stopped(model: Any, ids: Any, bos: Any, todo: Any, nll: Any, done: int, after: Any) -> None:
        def then(count: int) -> bool:
            calls.append(count)
            if count == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return bool(after(count))

        loss(model, ids, bos, todo, nll, done, then)

    monkeypatch.setattr(perplexity, "measure", stopped)
    assert run(*words) == 128 + signal.SIGTERM
    assert not (here / "results/llm/records.jsonl").exists()
    assert run(*words) == 0
    assert calls == list(range(1, len(calls) + 1))  # it went on with the sixth
    once = stored(here)
    monkeypatch.setattr(perplexity, "measure", loss)
    assert run(*words, "--out", "other.jsonl", "score_to=1000") == 0
    assert load(here / "other.jsonl", kind=PerplexityRecord)[0].nll == once[0].nll


def test_a_dry_run_measures_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--dry-run") == 0
    out = capsys.readouterr().out
    assert "0 of 19 passes are done" in out
    assert "about" in out
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stride=8"], "perplexity.stride=8: is of mode=sliding alone; set stride=null"),
        (["mode=sliding", "stride=32", "lengths=[32]"], "a longer stride skips tokens"),
        (["mode=slidng"], "did you mean sliding?"),
        (["lenghts=[1]"], "did you mean perplexity.lengths?"),
        (["short=error"], "fewer than 95"),
        (["short=drop", "lengths=[4096]"], "the longest of 4 has 160"),
        (["yarn.beta_fats=3"], "did you mean beta_fast?"),
        (["pi.factor=3"], "--rope does not name pi"),
        (["--rope", "yran"], "did you mean yarn?"),
        (["--preset", "papr"], "did you mean paper?"),
        (["--texts", "nowhere"], "there is no such file or folder"),
        (["--dtype", "fp8"], "dtype=fp8"),
        (["--threads", "many"], "threads=many"),
        (["lengths=[1000000]", "short=keep"], "needs about"),  # eager scores would be terabytes
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(
    words: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.measuring.llm.cost.free_bytes", lambda device: 1 << 30)
    given = [word for word in SETTINGS if word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
    base = ["llm", "perplexity", "tiny", "--texts", "texts", "--rope", "yarn", "--dtype", "fp32", *given]
    assert run(*base, *words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (here / "results").exists()


def test_ids_of_another_tokenizer_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "ids.jsonl").write_text(json.dumps({"input_ids": [3, 4, 97]}) + "\n")
    assert run("llm", "perplexity", "tiny", "--texts", "ids.jsonl", "lengths=[2]") == 2
    assert "ids:1: token 97 is beyond the model's vocabulary of 97" in capsys.readouterr().err


def test_every_plan_is_whole_and_its_lists_are_apart() -> None:
    from conf import files
    from conf.perplexity import perplexity_plan, perplexity_protocol
    from models.lm.names import check_names

    plans = {file.stem: perplexity_plan(file.stem) for file in files.group("llm") if "parts" in files.load(file)}
    assert plans.keys() == {"figure4", "figure4_tuned", "figure4_extended", "figure4_32k"}
    assert all(plan.dtype == "fp32" for plan in plans.values())  # what is measured on several machines is compared
    for plan, part in [(each, part) for each in plans.values() for part in each.parts]:
        assert check_names(part.rope) == tuple(part.rope)
        assert perplexity_protocol(plan.preset, part.set).lengths
        documents = plan.documents(part)
        assert len(documents) == len({*documents}) == (37 if plan.name == "figure4_32k" else 8)
    sets = [plans[name].parts[0].set for name in ("figure4", "figure4_tuned", "figure4_extended")]
    assert sets[0] == sets[1] == sets[2]
    lists = files.load(files.FOLDER / "llm" / "plays.yaml")
    assert len({*lists["test"], *lists["tuning"]}) == len(lists["test"]) + len(lists["tuning"]) == 37
    assert lists["test"] == sorted([*lists["test"], *lists["tuning"]])[3::4][:8]


@pytest.mark.slow
def test_a_plan_runs_by_its_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared plan with the tiny model: documents of the plan's names, shorter lengths from the command line."""
    from conf import files

    (here / "plays").mkdir()
    names = files.load(files.FOLDER / "llm" / "plays.yaml")["test"]
    for index, name in enumerate(names):
        (here / "plays" / f"{name}.txt").write_text(text(np.roll(DOCUMENTS[3], index)))
    (here / "plays" / "hamlet.txt").write_text(text(DOCUMENTS[3]))
    words = ("llm", "perplexity", "tiny", "--plan", "figure4", "--texts", "plays", "--dtype", "fp32", "--threads", "1")
    assert run(*words, "lengths=[32,64,128]") == 0
    records = stored(here)
    assert {record.document for record in records} == set(names)
    assert {(record.factor, record.encoding) for record in records} >= {(2.0, "clip"), (4.0, "resonance_yarn")}
    assert len({record.document for record in records if record.factor == 4}) == 2
    assert run("llm", "figure4", "--format", "png,svg") == 0
    made = {path.name for path in (here / "results/llm").iterdir()}
    assert made >= {"figure4-s2.png", "figure4-s2.svg", "figure4-s4.png", "figure4.md", "figure4.csv"}
    assert run("llm", "perplexity", "--records", "results/llm/records.jsonl") == 0
    assert "Resonance Clip" in capsys.readouterr().out
