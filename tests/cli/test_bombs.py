"""What would fill memory or disk, or take days, is refused in one line with the numbers, and nothing is written; what
is merely long says so before it begins."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eval.running import evaluation, fitting
from models import memory
from tests.command import run

SMOKE = ("--profile", "smoke", "tracker=none", "--threads", "1")
HUGE = ("model.d_model=16384", "model.layers=64", "model.d_ff=65536")
WEIGHTS = 64 * (4 * 16_384 * 32 + 2 * 16_384 * 65_536 + 2 * 16_384) + 10 * 16_384 + 16_384
"""Of the huge model, by hand: two heads of 16, a vocabulary of ten."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of RoPE and of ALiBi."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("sweep", *SMOKE, "--task", "cot", "--pe", "rope,alibi", "--protocol", "paper") == 0
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_id(folder: Path, pe: str) -> str:
    (found,) = [f.parent.name for f in folder.glob("results/runs/*/run.json") if f'"{pe}"' in f.read_text()]
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line on stderr of a command that is refused before it says or does anything else."""
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err), err
    return err


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_model_that_cannot_fit(command: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what this machine has free: no machine has as much."""
    line = refused(capsys, command, *SMOKE, "--task", "cot", "--pe", "yarn", *HUGE)
    told = re.search(r"model\.d_model=16384: a training needs about ([\d.]+) TiB of memory \(weights, gradients", line)
    assert told, line
    # Sixteen bytes a weight, as much again for a state to save, and four for the chosen weights.
    assert float(told[1]) == pytest.approx(36 * WEIGHTS / 2**40, rel=0.02)
    assert " are free: use a smaller value" in line
    assert list(workplace.iterdir()) == []


def test_a_dry_run_of_it_counts_and_ends_as_the_training_would(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", *SMOKE, *HUGE, "--dry-run") == 2
    out, err = capsys.readouterr()
    assert f"population of 1 member: {WEIGHTS:,} weights each, 4 steps, about " in out
    assert re.search(r"at least about .* in total on cpu, by counting operations", out)
    assert re.search(r"posgen: error: model\.d_model=16384: a training needs about [\d.]+ TiB", err)
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_million_profiles(dry: tuple[str, ...], workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "sweep", *SMOKE, "data.seed=range(1,1000000)", *dry)
    # three tasks, four encodings and two protocols of smoke
    assert "data.seed=range(1,1000000): that is 23,999,976 trainings (999,999 settings x 24 places x 1 seeds)" in line
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", *SMOKE, "--pe", "learned", "pe.params.max_length=1000000000"), r"pe=learned: needs about 119 GiB"),
        (("train", *SMOKE, "--pe", "randomized", "pe.params.max_position=50000000000"), r"pe=randomized: needs about"),
        (("train", *SMOKE, "--pe", "alibi", "data.test_length=10000000"), r"data\.test_length=10000000: .* TiB of"),
        (("train", *SMOKE, "optim.batch_size=65536", "data.train_length=60000", "data.test_length=60000"), r" TiB of"),
        (
            ("generate", "task.modulus=99", "data.train_size=10000000", "data.test_length=99999999",
             "data.train_length=99999999"),
            r"data\.train_length=99999999: the data set needs about 1,\d\d\d TiB of memory",
        ),
        (("bench", "step", "--profile", "smoke", *HUGE), r"model\.\w+=\d+: a training needs about [\d.]+ TiB"),
        (("bench", "step", "--profile", "paper", "--population", "4096"), r"population=4096: 4096 members .* GiB of"),
        (("show", "--length", "1000000000"), r"length=1000000000: use at most 10000"),
        (
            ("encodings", "show", "rope", "--train-length", "100000000", "--test-length", "100000000"),
            r"--train-length=100000000: rope takes about 95\.4 GiB",
        ),
        (("encodings", "plot", "randomized", "--test-length", "100000000"), "--test-length=100000000: randomized"),
    ],
)  # fmt: skip
def test_each_bomb_is_a_line(
    words: tuple[str, ...],
    told: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a machine of 8 GiB."""
    for place in (
        "models.memory",
        "models.positions",
        "posgen.dataset",
        "eval.evidence.figures.feature_gap",
    ):
        monkeypatch.setattr(f"{place}.free_memory", lambda: 8 * 2**30)
    assert re.search(told, refused(capsys, *words))
    assert list(workplace.iterdir()) == []


def test_the_settings_of_a_test_may_be_too_long_for_the_disk(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "free_disk", lambda folder: 2**20)
    line = refused(capsys, "train", *SMOKE, "data.test_length=1000000")
    assert re.search(
        r"paths\.data=results/data: their data sets need about 8\.9 MiB of disk and 1\.0 MiB are free", line
    )
    assert list(workplace.iterdir()) == []


def test_a_long_training_says_so_before_it_begins(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a billion operations a second: a sequence of a million takes 128 of them for each pair of positions and
    layer, and 16 are validated twice and 16 tested."""

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eval.running.sweep.run_sweep", stopped)
    monkeypatch.setattr(fitting, "rate", lambda device: 1e9)
    assert run("train", *SMOKE, "--pe", "yarn", "data.test_length=1000000") == 130
    days = (2 * 16 + 16) * 2 * 128 * 1e12 / 2 / 1e9 / 86_400
    err = capsys.readouterr().err
    assert re.search(
        rf"at least about 0 seconds of training and {days:.1f} days of validation and test at 1000000", err
    )


@pytest.mark.parametrize("accuracy", ["teacher_forced", "free_running"])
def test_a_measurement_that_cannot_fit(
    accuracy: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bias has a number a head for each pair: 2 x 4 x 100,000^2 bytes at the least."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 4 * 100_000**2)
    before = (trained / "results/smoke/records.jsonl").read_bytes()
    words = ("evaluate", run_id(trained, "alibi"), "--length", "100000", "--accuracy", accuracy)
    line = refused(capsys, *words)
    assert re.search(r"length=100000: measuring alibi takes about \d+ GiB of memory and 74\.5 GiB are free", line)
    assert run("lengths", "--profile", "smoke", "--measure", "--lengths", "100000", "--pe", "alibi") == 2
    assert re.fullmatch(
        r"posgen: error: lengths=100000: measuring alibi takes about \d+ GiB of .*\n", capsys.readouterr().err
    )
    assert (trained / "results/smoke/records.jsonl").read_bytes() == before
    assert not (trained / "results/runs/records.jsonl").exists()


def test_long_measuring_says_so_and_shows_how_far_it_is(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted within the first sequence, after lines that show parts of it; nothing is recorded."""
    monkeypatch.chdir(trained)
    shown: list[float] = []

    class Watched(evaluation.Bar):
        def advance(self, steps: float = 1) -> None:
            shown.append(steps)
            if len(shown) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "Bar", Watched)
    monkeypatch.setattr("eval.running.timing.read_on", lambda *arguments: 100.0)
    assert run("evaluate", run_id(trained, "rope"), "--length", "100000", "--threads", "1") == 130
    # 16 x 100 s for each of the encodings that it was validated under
    assert "posgen: about 53 minutes, timed on a part of it just now; Ctrl-C" in capsys.readouterr().err
    assert 0 < sum(shown) < 1 / 16
    assert not (trained / "results/runs/records.jsonl").exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is told in /proc")
@pytest.mark.parametrize(
    "settings",
    [
        ("model.d_model=1024", "model.layers=4", "model.d_ff=4096", "optim.batch_size=8"),  # weights
        ("model.d_model=256", "optim.batch_size=512", "data.train_size=512", "task.modulus=17"),  # activations
        ("data.test_length=50000", "data.validation_size=1", "data.test_size=1", "optim.validate_every=2"),  # a test
        ("--pe", "alibi", "data.test_length=4000", "data.validation_size=1", "data.test_size=1"),  # a bias
    ],
)
def test_the_estimate_is_near_the_peak_of_a_real_training(settings: tuple[str, ...], tmp_path: Path) -> None:
    """Peak resident memory of a process that trains, less that of one that trains next to nothing."""
    code = (
        "import sys\nfrom cli.main import main\nfrom eval.running import fitting\n"
        "needs = fitting.needs\n"
        "def told(*arguments):\n"
        "    parts = needs(*arguments)\n"
        "    print('NEEDS', sum(sum(p.values()) for p in parts.values()), file=sys.stderr)\n"
        "    return parts\n"
        "fitting.needs = told\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print('PEAK', 1024 * int(peak.split()[1]), file=sys.stderr)\n"
    )

    def numbers(*words: str) -> tuple[int, int]:
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        command = [sys.executable, "-c", code, "train", *SMOKE, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        told = dict(line.split() for line in done.stderr.splitlines() if line.startswith(("NEEDS", "PEAK")))
        return int(told["NEEDS"]), int(told["PEAK"])

    _, nothing = numbers()
    estimated, peak = numbers(*settings)
    assert 0.5 < estimated / (peak - nothing) < 2.0, (estimated, peak - nothing)
