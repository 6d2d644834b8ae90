"""docs/wandb.md: its charts are those that are logged, its W&B commands exist. Its other commands: test_project.py."""

from __future__ import annotations

import re

from wandb.cli.cli import cli

from eval.running.tracker import TrackedMember
from eval.running.wandb_tracker import SECTIONS, curves
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "wandb.md").read_text()


def logged() -> set[str]:
    metrics = {"loss": 1.0, "id_accuracy": 0.5, "ood_accuracy": 0.25, "id_loss": 0.5, "ood_loss": 2.0}
    row = {
        "epoch": 1, "step": 79, "train_loss": 1.0, "train_accuracy": 0.5, "lr": 1e-4,
        "validation": {"rope": metrics, "yarn": metrics},
    }  # fmt: skip
    member = TrackedMember("id", "name", "group", "train", (), {}, task="cot", trained_as="rope")
    return set(curves(member, row)) - {"epoch"}


def test_every_section_of_charts_is_described_and_logged() -> None:
    table = PAGE.partition("| Section |")[2].partition("\n\n")[0]
    described = {word for line in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert described == {name.partition("/")[0] for name in logged()}
    named = set(re.findall(r"`(figure3/\w+)`", table)) | {
        f"tested_with_yarn/{w}" for w in re.findall(r"`(cot_\w+)`", table)
    }
    assert named <= logged()
    assert all(name.startswith(SECTIONS) for name in logged())


def test_the_commands_of_wandb_exist() -> None:
    lines = re.findall(r"^wandb (.+)$|`wandb ([^`]+)`|&& wandb (\w+)", PAGE, flags=re.MULTILINE)
    verbs = {next(filter(None, found)).split()[0] for found in lines}
    assert {"login", "leet", "sync", "server"} <= verbs
    assert verbs <= set(cli.commands)
    assert "--dry-run" in {option for parameter in cli.commands["sync"].params for option in parameter.opts}
