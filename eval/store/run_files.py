"""What the files of a run folder hold (eval.store.runs): fields and types, against which they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

from eval.store import checked
from eval.store.kinds import Maker
from models.spec import MemberSpec
from posgen.errors import UserError
from posgen.plain import restore


class RunInfo(Struct):
    """What run.json may hold; the fields that are read."""

    status: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    population: str | None = None
    profile: str | None = None
    sweep: str | None = None
    task: str | None = None
    train_encoding: str | None = None
    seed: int | None = None
    cells: list[tuple[str, str, str, str]] | None = None
    trained_by: list[Maker] | None = None
    train_seconds: float | None = None
    diverged_at: dict[str, Any] | None = None
    updated: str | None = None
    host: str | None = None
    pid: int | None = None
    since: str | None = None
    reason: str | None = None
    recorded: list[str] | None = None
    weights_removed: str | None = None


class Row(Struct):
    """A validation in history.json: under each test encoding its loss (nats) and accuracies (fractions)."""

    epoch: int
    step: int
    train_loss: float | None
    train_accuracy: float | None
    validation: dict[str, dict[str, float | None]]


class Outcome(Struct):
    """What history.json holds."""

    history: list[Row]
    chosen: dict[str, int | None]
    weights_sha256: dict[str, str]
    status: str | None = None


def read_spec(file: Path, run_id: str, remedy: str) -> MemberSpec:
    """spec.json of a run. UserError where there is none, or it describes no run or another one."""
    node = checked.read(file, dict[str, Any], remedy)
    if node is None:
        raise UserError(
            f"run={run_id}: there is no such run below {file.parent.parent}; posgen status --runs lists them"
        )
    try:
        spec: MemberSpec = restore(MemberSpec, node)
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: damaged, or of another version ({reason}); {remedy}") from None
    if run_id not in (spec.run_id, spec.run_id_of_version_0_1):
        raise UserError(
            f"{file}: describes run {spec.run_id}, not {run_id}: it was edited, or the folder renamed; {remedy}"
        )
    return spec


def read_config(file: Path, remedy: str) -> dict[str, Any]:
    """config.yaml of a run, as plain containers."""
    from omegaconf import OmegaConf

    text = checked.read_text(file, remedy)
    try:
        config = OmegaConf.to_container(OmegaConf.create(text or ""))
    except Exception:  # yaml and OmegaConf have many kinds
        config = None
    if not isinstance(config, dict) or not {"task", "data", "model", "optim"} <= set(config):
        raise UserError(f"{file} is missing or damaged: {remedy}")
    return {str(key): value for key, value in config.items()}


def read_state(file: Path, run_id: str, remedy: str) -> dict[str, Any] | None:
    """A state in a file of the run's own, as version 0.1 kept it; None where there is none."""
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        owner = state.pop("run_id")
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{file} cannot be read ({type(error).__name__}): {remedy}") from None
    if owner != run_id:
        raise UserError(f"{file} belongs to run {owner}: {remedy}")
    return state


def joined(old: Mapping[str, Any], new: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """The outcome `old` of a run with the test encodings added for which it was trained again, as history.json holds
    it. UserError where the two trainings ended differently."""
    if (old["status"], [row["epoch"] for row in old["history"]]) != (
        new["status"], [row["epoch"] for row in new["history"]]
    ):  # fmt: skip
        raise UserError(
            f"run {run_id}: {old['status']} before, but {new['status']} when it was trained again for further test "
            "encodings; keep what it has, or train all of it again with --fresh"
        )
    rows = [
        {**row, "validation": {**further["validation"], **row["validation"]}}
        for row, further in zip(old["history"], new["history"], strict=True)
    ]
    return {**old, "history": rows, "chosen": {**new["chosen"], **old["chosen"]}}
