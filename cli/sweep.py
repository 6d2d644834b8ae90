"""`posgen sweep`: train every cell of Table 1."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import (
    DeviceOption,
    DryRunOption,
    FreshOption,
    Overrides,
    PeOption,
    ProfileOption,
    ProtocolOption,
    SeedOption,
    TaskOption,
    ThreadsOption,
)


def sweep(
    overrides: Overrides = None,
    task: TaskOption = None,
    pe: PeOption = None,
    seed: SeedOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the sweep in records and W&B. [default: the profile's]", show_default=False),
    ] = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train all of Table 1 side by side: three tasks, four encodings, several seeds, every training once.

    Defaults: all tasks, the table's four encodings, the profile's seeds and protocols, profile paper (as published:
    for a GPU; --profile quick takes minutes on a laptop). Ctrl-C keeps what was learnt, the same command goes on from
    there. A setting may have several values; each combination is then kept as a profile of its own, and so are seeds
    beyond the profile's: no table pools what differs.

    \b
    posgen sweep --profile quick
    posgen sweep --profile quick --dry-run
    posgen sweep --profile quick --task cot --pe yarn,resonance_yarn --protocol zero_shot
    posgen sweep --profile quick 'optim.lr=5e-4,1e-3' 'data.seed=range(1,4)'
    """
    from cli.options import request
    from cli.running import Extras, train_all
    from conf.overrides import expand

    asked = request(
        overrides,
        task=task,
        pe=pe,
        seed=seed,
        profile=profile,
        protocol=protocol,
        device=device,
        threads=threads,
        default_profile="paper",
        sweeps=True,
    )
    train_all(asked, expand(asked.overrides), Extras(name, fresh, dry_run))
