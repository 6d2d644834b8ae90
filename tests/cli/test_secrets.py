"""Nothing secret reaches a file: not a W&B key, not a value that a setting takes from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from eval.store.records import load
from tests.command import run

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "POSGEN_PLACE": "s3cr3t-place-in-a-path",
    "POSGEN_LABEL": "s3cr3t label",
}


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep with W&B offline, its table, its page and the summary run, and then every byte below the folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = [
        "tracker=wandb", "tracker.mode=offline", "tracker.project=${oc.env:POSGEN_LABEL}",
        "profile.label='seen ${oc.env:POSGEN_LABEL}'", "optim.epochs=1",
    ]  # fmt: skip
    assert run("train", "--profile", "smoke", "--pe", "rope", "--threads", "1", *settings) == 0
    (record,) = load(Path("results/runs/records.jsonl"))
    assert record.training.label.startswith("seen ${oc.env:POSGEN_LABEL}")
    assert run("table1", "--records", "results/runs/records.jsonl", "--format", "all", "--out", "drawn") == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        content = path.read_bytes()
        for name in ("WANDB_API_KEY", "POSGEN_LABEL"):
            # W&B itself must know its project: an offline run's file has it, ours have not.
            if name == "WANDB_API_KEY" or "wandb" not in path.parts:
                assert SECRETS[name].encode() not in content, (path, name)


def test_a_path_from_the_environment_is_used_and_stored_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSGEN_PLACE", SECRETS["POSGEN_PLACE"])
    words = ("train", "--profile", "smoke", "--pe", "rope", "--threads", "1", "optim.epochs=1")
    assert run(*words, "paths.results=${oc.env:POSGEN_PLACE}/results") == 0
    runs = tmp_path / SECRETS["POSGEN_PLACE"] / "results" / "runs"
    (folder,) = (path.parent for path in runs.glob("*/run.json"))
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
    assert isinstance(config, dict)
    assert config["paths"]["runs"] == "${oc.env:POSGEN_PLACE}/results/runs"  # through an interpolation, too
    assert run(*words, "paths.results=${oc.env:NOT_THERE}") == 2
