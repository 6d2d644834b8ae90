"""`posgen bench`: how fast this machine trains, as ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cli.options import Overrides, PeOption, ProfileOption, TaskOption, ThreadsOption, request
from cli.text import table
from posgen.errors import BadValue, require


def bench(
    overrides: Overrides = None,
    population: Annotated[
        str, typer.Option(metavar="P[,P...]", help="Members trained side by side; one line for each.")
    ] = "1,4,16",
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed steps; the median counts.")] = 5,
    task: TaskOption = None,
    pe: PeOption = None,
    profile: ProfileOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Time a training step on this machine, next to two things timed in the same run.

    `over products`: the step's time over that of its matrix products alone (1 is the limit). `over one by one`: a
    population's time over that of the same members one after another (below 1, the population pays). Quote the
    ratios; seconds depend on what else the machine does.

    \b
    posgen bench
    posgen bench --profile paper --population 1
    """
    from conf.overrides import numbers
    from conf.plan import plan, settings
    from eval.options import set_threads
    from eval.progress import Bar
    from models.bench import step_times

    asked = request(
        overrides, takes=("task", "pe", "profile"), task=task, pe=pe, profile=profile, threads=threads,
        default_task="cot", default_pe="resonance_rope", default_profile="quick",
    )  # fmt: skip
    sizes = numbers("population", population)
    require(all(1 <= size <= 4096 for size in sizes), "population", population, "use 1 to 4096 members")
    require(1 <= rounds <= 1000, "rounds", rounds, "use 1 to 1000")
    if len(asked.tasks) > 1 or len(asked.pes) > 1:
        raise BadValue("pe", pe or task, "give one task and one encoding: they do not change the time")
    base = settings(asked.profile, asked.overrides)
    spec = plan(asked.tasks, asked.pes, [0], ["paper"], asked.profile, asked.overrides)[0].spec
    set_threads(base.threads)
    rows = []
    with Bar("timing", (rounds + 1) * len(sizes)) as bar:
        for size in sizes:
            times = step_times([replace(spec, seed=seed) for seed in range(size)], rounds, bar.advance)
            rows.append(
                (str(size), f"{1000 * times.together:.1f}", f"{times.over_products:.2f}",
                 f"{times.over_one_by_one:.2f}", f"{times.tokens / times.together:,.0f}")
            )  # fmt: skip
    print(f"profile {base.profile.name} ({base.profile.label})")
    print(table(("members", "step ms", "over products", "over one by one", "tokens/s"), rows))
