"""`posgen bench`: how fast this machine trains, as ratios."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import DeviceOption, Overrides, PeOption, ProfileOption, TaskOption, ThreadsOption
from cli.shared.output import MISSING, duration, table
from cli.shared.request import request
from posgen.errors import require

if TYPE_CHECKING:
    from conf.schema import Config
    from models.bench import StepTimes
    from models.spec import MemberSpec

bench = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="How fast this machine trains, as ratios."
)
DEFAULT = (("paper", "fp32", "1"), ("paper", "bf16", "1"), ("narrow", "fp32", "8"), ("quick", "fp32", "16"))
"""Profiles, precisions and populations that are timed by default."""
MEMBERS = {"narrow": "8", "quick": "1,4,16"}
"""The default populations of a profile that is named; 1 of any other."""
PRECISION = "model.precision="
LONG = 1e12
"""Operations that may take long, so that an estimate comes before them."""


@dataclass(frozen=True)
class Case:
    """One line of the table: `members` of one shape as a population."""

    base: Config
    spec: MemberSpec
    members: int


@bench.command(short_help="Time a training step against a plain implementation and the best kernels.")
def step(
    overrides: Overrides = None,
    population: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P...]",
            help="Members trained side by side; one line for each. [default: 1; narrow 8; quick 1,4,16]",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed steps; the median counts.")] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON list with an object for each line, at full precision.")
    ] = False,
    task: TaskOption = None,
    pe: PeOption = None,
    profile: ProfileOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Time a training step on this machine, in turn with what it is compared with.

    `speed-up`: how many times faster the population takes a step than the plain implementation (models/plain.py: one
    ordinary torch model for each member, one after another, always fp32; a few of them are timed and stand for all).
    `one by one`: how many times faster than the same members one after another as populations of one (below 1, the
    population pays). `utilisation`: operations a second of the step's matrix products over the whole step, as a share
    of the rate that the best kernel on this machine reaches for products of the same shapes and precision, every core
    on its own; 100 % would mean that the fastest products are all there is to a step. Quote these ratios, not step ms
    and tokens/s: seconds depend on what else the machine does.

    With --json: profile, precision, members, threads, step_ms, speed_up, utilisation (a fraction) and tokens_per_s.
    Without --profile: the paper's size in fp32 and in bf16 (1 member), narrow (8) and quick (16) in fp32.

    \b
    posgen bench step
    posgen bench step --profile quick --population 4 --json
    posgen bench step --profile paper --device cuda --population 60 model.precision=bf16
    """
    from eval.running.job import compiles, set_threads
    from eval.running.progress import Bar
    from models.bench import step_times
    from models.bench_products import rate, step_operations
    from models.memory import shortage_told

    require(1 <= rounds <= 1000, "rounds", rounds, "use 1 to 1000")
    options = {"task": task, "pe": pe, "device": device, "threads": threads}
    timed = cases(overrides or (), options, profile, population)
    base = timed[0].base
    set_threads(base.threads)
    times = []
    # Together and one by one; the plain implementation of a few comes to it.
    operations = sum((rounds + 1) * 2 * case.members * step_operations(case.spec) for case in timed)
    if operations > LONG and (seconds := operations / rate(base.device)) > 60:
        print(f"posgen: at least about {duration(seconds)}, by counting operations", file=sys.stderr, flush=True)
    with shortage_told("timing"), Bar("timing", (rounds + 1) * len(timed)) as bar:
        for case in timed:
            members = [replace(case.spec, seed=seed) for seed in range(case.members)]
            times.append(step_times(members, rounds, base.device, compiles(base.device, base.compiled), bar.advance))
    print(_json(timed, times) if as_json else _table(timed, times))


def cases(
    overrides: Sequence[str], options: Mapping[str, str | None], profile: str | None, population: str | None
) -> list[Case]:
    """What to time, checked as a whole before the first is timed. `options`: task, pe, device and threads."""
    from conf.overrides import numbers, read
    from eval.running.job import check_device
    from eval.running.plan import plan, settings
    from models.bench import check_memory

    chosen = read(overrides).chosen.get("profile", profile)
    rows: Sequence[tuple[str, str, str]] = DEFAULT if chosen is None else ((chosen, "", MEMBERS.get(chosen, "1")),)
    if any(text.startswith(PRECISION) for text in overrides):
        rows = list(dict.fromkeys((name, "", members) for name, _, members in rows))
    timed = []
    for name, precision, members in rows:
        choice = request(
            [*overrides, *([PRECISION + precision] if precision else [])], takes=("task", "pe", "profile"),
            task=options["task"], pe=options["pe"], device=options["device"], threads=options["threads"],
            profile=profile, default_task="cot", default_pe="resonance_rope", default_profile=name,
        )  # fmt: skip
        for key, names in (("task", choice.tasks), ("pe", choice.pes)):
            require(
                len(names) == 1, key, ",".join(names), "give one task and one encoding: they do not change the time"
            )
        # The precision has a column of its own, and so no place in the profile's name.
        base = settings(choice.profile, [text for text in choice.overrides if not text.startswith(PRECISION)])
        check_device(base.device)
        spec = plan(choice.tasks, choice.pes, [0], ["paper"], choice.profile, choice.overrides)[0].spec
        sizes = numbers("population", population or members)
        require(all(1 <= size <= 4096 for size in sizes), "population", population, "use 1 to 4096 members")
        for members_at_once in sizes:
            check_memory(spec, members_at_once, base.device)
        timed += [Case(base, spec, size) for size in sizes]
    return timed


def _json(timed: Sequence[Case], times: Sequence[StepTimes]) -> str:
    import torch

    rows = [
        {
            "profile": case.base.profile.name,
            "precision": case.spec.model.precision.value,
            "members": case.members,
            "threads": torch.get_num_threads(),
            "step_ms": 1000 * step.together,
            "speed_up": step.speed_up,
            "utilisation": step.utilisation,
            "tokens_per_s": step.tokens_per_s,
        }
        for case, step in zip(timed, times, strict=True)
    ]
    return json.dumps(rows, indent=2, allow_nan=False)


def _table(timed: Sequence[Case], times: Sequence[StepTimes]) -> str:
    """The table, the sizes of its profiles, and the kernels that were tried."""
    import torch

    from models.bench_products import candidates
    from models.kernels import kernels

    device = torch.device(timed[0].base.device)
    place = ("threads", str(torch.get_num_threads())) if device.type == "cpu" else ("device", str(device))
    rows = []
    for case, step in zip(timed, times, strict=True):
        alone, peak = step.over_one_by_one, step.peak
        rows.append(
            (case.base.profile.name, case.spec.model.precision.value, str(case.members), place[1],
             f"{1000 * step.together:.1f}", f"{step.speed_up:.2f}", MISSING if alone is None else f"{alone:.2f}",
             f"{100 * step.utilisation:.0f} %", f"{step.tokens_per_s:,.0f}",
             MISSING if peak is None else f"{peak / 2**30:.2f}")
        )  # fmt: skip
    heads = ("profile", "precision", "members", place[0], "step ms", "speed-up", "one by one", "utilisation",
             "tokens/s", "peak GiB")  # fmt: skip
    labels = dict.fromkeys(f"{case.base.profile.name}: {case.base.profile.label}" for case in timed)
    tried = dict.fromkeys(name for case in timed for name in candidates(device, case.spec.model.precision))
    line = f"kernels tried: {', '.join(tried)}; the population's own fp32 products: {kernels(device)}"
    return "\n".join([table(heads, rows), *labels, line])
