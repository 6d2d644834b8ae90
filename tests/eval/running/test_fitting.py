"""What a sweep needs, counted by hand, and what is refused for it; how many trainings a call plans, and how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conf.combinations import expand, points
from eval.measuring.planned import PlannedMember
from eval.running import fitting, populations, request, timing
from eval.running.fitting import at_least, check_fits, needs, work
from eval.running.job import RunSettings
from eval.running.plan import plan
from eval.running.request import MOST, Sweep, SweepRequest, plan_sweep, plan_sweeps
from eval.running.timing import Timing
from eval.store.records import load
from models import memory
from models.memory import shortage_told
from models.spec import MemberSpec
from posgen.errors import BadValue, UserError
from tests.committed import results

TASKS = ("recursive", "cot", "semi_recursive")
PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")
CPU = torch.device("cpu")
MIB = 2**20
PAPER = 6_305_280
"""Weights of the paper's model."""


def members(*overrides: str, profile: str = "paper", pe: str = "yarn") -> list[PlannedMember]:
    """YaRN's are validated under one encoding; what is chosen for several counts once for each."""
    return plan(["cot"], [pe], [1], ["paper"], profile, overrides)


def settings(tmp_path: Path, device: str = "cpu") -> RunSettings:
    return RunSettings(
        tmp_path / "runs", tmp_path / "data", tmp_path / "records.jsonl", "sweep", "profile", device, threads=1
    )


def request_of(*overrides: str, profile: str = "smoke", pes: tuple[str, ...] = ("rope",)) -> SweepRequest:
    return SweepRequest(["cot"], list(pes), None, ["paper"], profile, overrides)


def test_a_training_of_the_paper_by_hand(tmp_path: Path) -> None:
    """Weights, gradients and two moments are four numbers of four bytes each."""
    (member,) = members()
    parts = needs([member.spec], CPU, 1, data=0)[CPU]
    assert parts["weights, gradients and moments"] == 16 * PAPER
    assert parts["checkpoints"] == 4 * PAPER
    assert parts["data"] == 10_000 * 64
    assert parts["activations of a step"] == 4 * PAPER + memory.step_bytes(member.spec)
    # RoPE's are validated for Table 1's two ways of testing YaRN without training it, too.
    (plain,) = members(pe="rope")
    assert len(plain.spec.test_encodings) == 3
    assert needs([plain.spec], CPU, 1, data=0)[CPU]["checkpoints"] == 3 * 4 * PAPER


def test_what_a_gpu_holds_and_what_the_host(tmp_path: Path) -> None:
    (member,) = members()
    both = needs([member.spec], torch.device("cuda"), 1, data=7 * MIB)
    gpu, host = both[torch.device("cuda")], both[CPU]
    assert gpu["weights, gradients and moments"] == 16 * PAPER
    assert host == {"checkpoints": 4 * PAPER, "states to save": 16 * PAPER, "data": 7 * MIB}


@pytest.mark.parametrize(
    ("overrides", "named", "least"),
    [
        # The smallest part by hand: sixteen bytes a weight of the widest matrices; probabilities, their mask and what
        # both make, of a batch; the tokens.
        (("model.d_ff=65536", "model.dropout=0"), "model.d_ff=65536", 16 * 2 * 2 * 512 * 65_536),
        (("model.layers=64",), "model.layers=64", 16 * 64 * (4 * 512 * 512 + 2 * 512 * 2_048)),
        (("optim.batch_size=8192",), "optim.batch_size=8192", 2 * 8_192 * 8 * 64 * 64 * 4 * 3),
        (("data.train_length=4096", "data.test_length=4096"), "data.train_length=4096", 2 * 128 * 8 * 4_096**2 * 12),
        (("data.train_size=5000000", "task.modulus=100"), "data.train_size=5000000", 64 * 5_000_000),
    ],
)
def test_what_cannot_fit_is_refused_and_the_setting_that_matters_named(
    overrides: tuple[str, ...], named: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = members(*overrides)
    monkeypatch.setattr(memory, "free_bytes", lambda device: least)
    with pytest.raises(BadValue) as told:
        check_fits(planned, settings(tmp_path))
    assert str(told.value).startswith(f"{named}: a training needs about ")
    assert f" and {fitting.size(least)} are free: use a smaller value" in str(told.value)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20 * least)
    check_fits(planned, settings(tmp_path))


def test_a_bias_over_a_long_test_is_refused_and_a_rotation_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALiBi's bias has a number a head for each pair of 100,000 positions: 75 GiB and more. What only rotates is read
    in pieces, and needs a few hundred bytes a position."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * 2**30)
    long = "data.test_length=100000"
    with pytest.raises(BadValue, match=r"data\.test_length=100000: .*validation and test"):
        check_fits(members(long, profile="smoke", pe="alibi"), settings(tmp_path))
    check_fits(members(long, profile="smoke"), settings(tmp_path))


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen weights remain, and two states stand beside each other: 4 and 2 x 16 bytes a weight."""
    planned, needed = members(), 36 * PAPER
    monkeypatch.setattr(fitting, "free_disk", lambda folder: needed)
    with pytest.raises(BadValue, match=r"paths\.runs=.*the weights and states of 1 member need about 21\d\.\d MiB of"):
        check_fits(planned, settings(tmp_path))
    monkeypatch.setattr(fitting, "free_disk", lambda folder: needed + 10 * MIB)  # and the data set
    check_fits(planned, settings(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, place = members(), settings(tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1)
    run = place.runs_dir / planned[0].spec.run_id
    run.mkdir(parents=True)
    monkeypatch.setattr(fitting.Run, "covers", lambda run, spec: run.path.exists())
    check_fits(planned, place)
    with pytest.raises(BadValue):
        check_fits(planned, place, fresh=True)


def test_operations_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's step is 317 billion (docs/performance.md). A sequence of 256 takes two for each weight and token, the
    embedding counting twice, and attention over 256 x 257 / 2 pairs; it is measured 75 x 1000 and 1000 times."""
    (member,) = members()
    sequence = 2 * 256 * (PAPER + 22 * 512) + 4 * 2 * 512 * 256 * 257 // 2
    counted = work([member.spec])
    assert round(counted.training / (150 * 10_000 / 128) / 1e9) == 317
    assert counted.measuring == 76_000 * sequence
    half = work([member.spec], until=74)
    assert half.training == pytest.approx(counted.training * 74 / 150)
    monkeypatch.setattr(fitting, "rate", lambda device: 1e9)
    seconds = at_least([member], settings(tmp_path))
    assert seconds is not None
    assert seconds.measuring == counted.measuring / 1e9
    assert at_least(members(profile="smoke"), settings(tmp_path)) is None


def test_memory_that_runs_out_all_the_same_is_a_line() -> None:
    with pytest.raises(UserError, match="memory ran out while training"), shortage_told("training"):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(RuntimeError, match="shapes"), shortage_told("training"):
        raise RuntimeError("shapes differ")


SWEEPS = [
    ("optim.lr=1e-3,2e-3,4e-3",),
    ("data.seed=range(1,10)",),
    ("data.seed=range(1,10,4)", "optim.lr=1e-3,2e-3"),
    ("data.seed=range(10,1,-2)",),
    ("optim.lr=range(0.1,0.5,0.1)",),
    ("data.seed=choice(3,8)", "optim.lr=1e-3"),
    (),
]


@pytest.mark.parametrize("overrides", SWEEPS)
def test_points_are_counted_as_they_expand(overrides: tuple[str, ...]) -> None:
    assert points(overrides) == len(expand(overrides))


@pytest.mark.parametrize("text", ["data.seed=range(5,1)", "data.seed=range(1,5,0)"])
def test_a_range_without_a_value_is_told(text: str) -> None:
    with pytest.raises(BadValue, match=r"write range\(START,STOP"):
        points([text])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request_of("data.seed=range(1,1000000)"), "999,999 trainings (999,999 settings x 1 places x 1 seeds)"),
        (request_of("data.seed=range(0,200)", "optim.lr=range(1,102)"), "20,200 trainings (20,200 settings x 1"),
        (replace(request_of(pes=("rope", "yarn")), seeds=list(range(MOST))), "20,000 trainings (1 settings x 2 places"),
        (replace(request_of("data.seed=range(1,1000)"), sweep=Sweep.league, pes=[]), "settings x "),
    ],
)  # fmt: skip
def test_too_many_are_counted_and_refused(asked: SweepRequest, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def expanded(*arguments: object) -> None:
        raise AssertionError("expanded")

    monkeypatch.setattr(request, "expand", expanded)
    with pytest.raises(BadValue) as told:
        plan_sweeps(asked)
    assert words in str(told.value)
    assert "at most 10,000" in str(told.value)


def test_a_mistake_in_the_last_is_told_before_the_first_is_given() -> None:
    with pytest.raises(BadValue, match=r"optim\.pct_start"):
        plan_sweeps(request_of("optim.pct_start=0.1,0.2,1.5"))


def test_what_is_planned_at_its_turn_is_what_was_asked() -> None:
    asked = request_of("optim.lr=1e-3,2e-3", "data.seed=4,5")
    sweeps = plan_sweeps(asked)
    alone = [plan_sweep(replace(asked, overrides=point)) for point in expand(asked.overrides)]
    assert len(sweeps) == 4
    assert [s.members for s in sweeps] == [s.members for s in alone]
    assert sweeps[-1].settings == alone[-1].settings
    assert [s.members for s in sweeps[1:3]] == [s.members for s in alone[1:3]]


def test_a_sweep_that_cannot_fit_is_refused_while_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10 * MIB)
    asked = request_of("model.d_model=32,4096")
    with pytest.raises(BadValue, match=r"model\.d_model=4096: a training needs about"):
        plan_sweeps(asked)
    assert len(plan_sweeps(asked, fits=False)) == 2


def test_the_committed_table_is_planned_with_its_run_ids() -> None:
    """Whatever is kept between two compositions: the ids are those of the records."""
    planned = plan_sweep(SweepRequest(list(TASKS), list(PES), None, None, "quick"))
    recorded = {record.run_id for record in load(results() / "quick" / "records.jsonl")}
    # Test encodings were part of an id then.
    before = {"".join(member.spec.run_id_of_version_0_1) for member in planned.members}
    assert before == recorded


@pytest.mark.slow
def test_populations_that_differ_in_seeds_and_rates_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def timing_of(specs: list[MemberSpec], device: str, compiled: bool) -> Timing:
        timed.append(len(specs))
        return Timing(1.0, 0.5, 1, timing.Basis.steps)

    monkeypatch.setattr(populations, "timing", timing_of)
    timings: dict[str, Timing] = {}
    for rate in ("1e-3", "2e-3"):
        planned = plan(list(TASKS), list(PES), list(range(16)), ["paper"], "smoke", (f"optim.lr={rate}",))
        groups = populations.populations(planned, "cpu")
        estimates = populations.estimate(groups, "cpu", timings=timings)
        assert len(groups) == 12
        # 4 steps of each training at a second; 2 validations and a test of 16 sequences at half a second, for each of
        # its encodings: RoPE's and Resonance RoPE's have YaRN beside them.
        assert sum(len(member.spec.test_encodings) for member in planned) == 1.5 * len(planned)
        assert sum(e.seconds for e in estimates) == 12 * 16 * (4 * 1.0 + 1.5 * (2 * 16 + 16) * 0.5)
    assert timed == [16]


def test_what_is_too_slow_to_try_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*arguments: object) -> None:
        raise AssertionError("tried")

    monkeypatch.setattr(timing, "probe", tried)
    monkeypatch.setattr(timing, "rate", lambda device: 1e9)
    (member,) = members()
    counted = timing.timing([member.spec], "cpu", False)
    assert counted.basis is timing.Basis.operations
    assert round(counted.step) == 317  # at a billion a second


@pytest.mark.parametrize("length", [512, 1_024, 5_000, 65_536])
def test_time_is_extrapolated_by_its_own_growth(length: int) -> None:
    """A work of 2 n + n^2 / 10 microseconds, whatever operations it is said to have."""

    def seconds(n: int) -> float:
        return 2e-6 * n + 1e-7 * n * n

    def linear(n: int) -> float:
        return n

    taken, shorter = timing.extrapolated(seconds, linear, length)
    assert taken == pytest.approx(seconds(length))
    assert shorter == (length > 1_024)
