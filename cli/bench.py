"""`posgen bench`: how fast this machine trains, as ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cli.options import DeviceOption, Overrides, PeOption, ProfileOption, TaskOption, ThreadsOption, request
from cli.text import MISSING, table
from posgen.errors import BadValue, require

bench = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="How fast this machine trains, as ratios."
)
DEFAULT = (("paper", "1"), ("quick", "1,4,16"))
"""Profiles and populations that are timed when nothing is asked for."""


@bench.command(short_help="Time a training step next to its matrix products.")
def step(
    overrides: Overrides = None,
    population: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P...]", help="Members trained side by side; one line for each. [default: 1, for quick 1,4,16]"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed steps; the median counts.")] = 5,
    task: TaskOption = None,
    pe: PeOption = None,
    profile: ProfileOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Time a training step on this machine, next to what else is timed in the same run.

    `over products`: the step's time over that of its matrix products alone, same shapes, threads and precision (1 is
    the limit). `over one by one`: a population's time over that of the same members one after another (below 1, the
    population pays). `of rate`: operations a second as a share of what large square matrices reach on this device.
    Quote the ratios; seconds depend on what else the machine does. Without --profile: the paper's size and quick's.

    \b
    posgen bench step
    posgen bench step --profile paper --population 1
    posgen bench step --profile paper --device cuda --population 60 model.precision=bf16
    """
    from cli.running import check_device
    from conf.overrides import numbers
    from conf.plan import plan, settings
    from eval.options import compiles, set_threads
    from eval.progress import Bar
    from models.bench import step_times

    require(1 <= rounds <= 1000, "rounds", rounds, "use 1 to 1000")
    cases = []
    for name, members in DEFAULT if profile is None else ((profile, "1,4,16" if profile == "quick" else "1"),):
        asked = request(
            overrides, takes=("task", "pe", "profile"), task=task, pe=pe, profile=name, device=device, threads=threads,
            default_task="cot", default_pe="resonance_rope", default_profile="quick",
        )  # fmt: skip
        if len(asked.tasks) > 1 or len(asked.pes) > 1:
            raise BadValue("pe", pe or task, "give one task and one encoding: they do not change the time")
        base = settings(asked.profile, asked.overrides)
        check_device(base.device)
        spec = plan(asked.tasks, asked.pes, [0], ["paper"], asked.profile, asked.overrides)[0].spec
        sizes = numbers("population", population or members)
        require(all(1 <= size <= 4096 for size in sizes), "population", population, "use 1 to 4096 members")
        cases += [(base, spec, size) for size in sizes]
    set_threads(base.threads)
    rows = []
    with Bar("timing", (rounds + 1) * len(cases)) as bar:
        for base, spec, size in cases:
            members_ = [replace(spec, seed=seed) for seed in range(size)]
            times = step_times(members_, rounds, base.device, compiles(base.device, base.compiled), bar.advance)
            pays, peak = times.over_one_by_one, times.peak
            rows.append(
                (base.profile.name, str(size), f"{1000 * times.together:.1f}", f"{times.over_products:.2f}",
                 MISSING if pays is None else f"{pays:.2f}", f"{100 * times.of_rate:.0f} %",
                 f"{times.tokens / times.together:,.0f}", MISSING if peak is None else f"{peak / 2**30:.2f}")
            )  # fmt: skip
    heads = ("profile", "members", "step ms", "over products", "over one by one", "of rate", "tokens/s", "peak GiB")
    print(table(heads, rows))
    for label in dict.fromkeys(f"{base.profile.name}: {base.profile.label}" for base, _, _ in cases):
        print(label)
