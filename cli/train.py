"""`posgen train`: train and measure one model, or a few."""

from __future__ import annotations

from cli.shared.options import (
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


def train(
    overrides: Overrides = None,
    task: TaskOption = None,
    pe: PeOption = None,
    seed: SeedOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train a model and measure it on sequences longer than those it was trained on.

    Defaults: task cot, encoding resonance_rope, the profile's first seed, protocol paper, profile quick (small, minutes
    on a laptop; --profile paper takes half a day on a CPU). Ctrl-C saves the state; the same command resumes, and a
    finished run is not trained twice. Records go to results/runs/records.jsonl, apart from the tables.

    \b
    posgen train --pe resonance_yarn
    posgen train --task recursive --pe rope,resonance_rope --seed 1,2,3
    posgen train --profile paper --device cuda
    posgen train --pe yarn optim.lr=5e-4 pe.params.beta_fast=32
    """
    from cli.shared.request import request
    from cli.shared.training import train_all
    from eval.running.request import Sweep, SweepRequest, plan_sweeps

    requested = request(
        overrides,
        task=task,
        pe=pe,
        seed=seed,
        profile=profile,
        protocol=protocol,
        device=device,
        threads=threads,
        default_task="cot",
        default_pe="resonance_rope",
        default_profile="quick",
    )
    choices = SweepRequest(
        requested.tasks, requested.pes, requested.seeds, requested.protocols, requested.profile,
        requested.overrides, sweep=Sweep.few,
    )  # fmt: skip
    train_all(plan_sweeps(choices, fits=not dry_run, fresh=fresh), fresh, dry_run)
