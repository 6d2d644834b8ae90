"""`posgen generate`: write the benchmark's splits to disk."""

from __future__ import annotations

from cli.shared.options import Overrides, ProfileOption, ProtocolOption, TaskOption


def generate(
    overrides: Overrides = None,
    task: TaskOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
) -> None:
    """Write train, validation and test sequences as parquet files, with a manifest of their checksums.

    Data that are there already are checked and left alone. Defaults: all three tasks, profile quick (--profile paper
    has the published sizes), below results/data.

    \b
    posgen generate
    posgen generate --task cot --profile paper
    posgen generate --protocol released          the splits as the authors' code makes them
    posgen generate data.train_size=50000 data.seed=1 paths.data=DIR
    """
    from pathlib import Path

    from cli.shared.request import request
    from conf.compose import Choice, composer
    from eval.running.progress import Bar
    from posgen.data_size import positions
    from posgen.dataset import prepare

    requested = request(
        overrides,
        takes=("task", "profile", "protocol"),
        roots=("task", "data", "paths"),
        task=task,
        profile=profile,
        protocol=protocol,
        default_profile="quick",
    )
    with composer() as make:
        configs = [
            make(Choice(name, None, rules, requested.profile), requested.overrides)
            for rules in requested.protocols or ["paper"]
            for name in requested.tasks
        ]
    for config in configs:
        with Bar(f"generating {config.task.name}", positions(config.data), after=1.0) as bar:
            dataset = prepare(config.task, config.data, Path(config.paths.data), bar.advance)
        print(f"{dataset.path} {'written' if dataset.created else 'found, checked'}")
        print(f"  profile {config.profile.name} ({config.profile.label}), modulus {config.task.modulus}")
        for split, entry in dataset.manifest["splits"].items():
            print(f"  {split:<10} {entry['rows']} sequences of {entry['length']} tokens, sha256 {entry['sha256']}")
