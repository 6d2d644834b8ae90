"""Run folders: results/runs/<run_id> holds what one member was asked, how far it came, its state and its weights.

run.json (status and provenance), config.yaml (the full resolved configuration), spec.json (the member), and, when it is
done, history.json and weights-<test encoding>.safetensors. While it trains, run.json names the population whose file in
eval.store.states holds its state. Every file has a checksum: weights in history.json, the others in themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from msgspec import Struct
from safetensors.torch import load_file, save_file
from torch import Tensor

from eval.store import checked, states
from eval.store.files import checksum, replacing
from eval.store.kinds import Maker
from eval.store.records import LOCK
from models.spec import MemberSpec
from posgen.errors import UserError
from posgen.own_code import refuse_untrusted
from posgen.plain import plain, restore

_RUN_ID = re.compile(r"[0-9a-f]{12}")
DONE = ("finished", "diverged")


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


@dataclass(frozen=True)
class TrainingResult:
    """What a training has to show: its validations, the epoch of the checkpoint chosen for each test encoding, and
    that checkpoint's weights, read when they are asked for."""

    history: list[dict[str, Any]]
    chosen: dict[str, int | None]
    weights: Callable[[str], Mapping[str, Tensor]]


def is_run_id(name: str) -> bool:
    """Whether a folder of this name may be a run's."""
    return bool(_RUN_ID.fullmatch(name))


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Run:
    """One run folder. Files are replaced whole; a killed process leaves the last complete state."""

    def __init__(self, runs_dir: Path, run_id: str) -> None:
        """UserError for what is no run id: it names a folder."""
        if not is_run_id(run_id):
            raise UserError(f"run={run_id[:60]}: a run id is 12 digits of 0-9a-f; posgen status lists them")
        self.run_id = run_id
        self.path = runs_dir / run_id
        # Not --fresh, which forgets every run that the command names.
        self._remedy = f"put it back, or delete {self.path}: this training then begins again"
        self._lock: BaseFileLock | None = None

    def claim(self) -> bool:
        """Take the folder for this process; False while another process has it."""
        if self._lock is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self.path / LOCK, timeout=0)
                lock.acquire()
            except Timeout:
                return False
            except OSError as error:
                raise UserError(
                    f"paths.runs={self.path.parent}: {error.strerror}; name a folder that can be written"
                ) from None
            self._lock = lock
            for file in self.path.glob(".*.tmp"):
                file.unlink(missing_ok=True)  # of a process that was killed
        return True

    def release(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def describe(self, spec: MemberSpec, config: Mapping[str, Any]) -> None:
        """Write what was asked: the member, and the full resolved configuration."""
        from omegaconf import OmegaConf

        checked.write(self.path / "spec.json", plain(spec))
        checked.write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def forget(self) -> None:
        """Empty the folder, so that its member begins again. UserError while another process has it."""
        if not self.claim():
            raise UserError(
                f"run {self.run_id} is being trained by another process; wait for it, or stop it and try again"
            )
        # The outcome first: weights without it are no run that is done, an outcome without weights would be one.
        for file in sorted(self.path.iterdir(), key=lambda file: file.name != "history.json"):
            if file.name != LOCK:
                file.unlink()
        self.release()

    def info(self) -> dict[str, Any]:
        """run.json, or {} when there is none."""
        return checked.read(self.path / "run.json", RunInfo, self._remedy) or {}

    def report(self, **changes: Any) -> None:
        """Change entries of run.json."""
        checked.write(self.path / "run.json", {**self.info(), "run_id": self.run_id, **changes, "updated": now()})

    @property
    def done(self) -> bool:
        """Whether it has an outcome, and so is never trained again."""
        return (self.path / "history.json").exists() and self.status in DONE

    @property
    def status(self) -> str:
        """As history.json says, which is written when a run is done, else as run.json does; empty before it begins."""
        outcome = self._outcome() if (self.path / "history.json").exists() else {}
        return str(outcome.get("status") or self.info().get("status") or "")

    def spec(self) -> MemberSpec:
        """The member as it was trained. UserError when there is no such run, or it needs code that nobody has named."""
        spec = self.described()
        encodings = (spec.train_encoding, *spec.test_encodings)
        names = (spec.task.h, *(name for encoding in encodings for name in (encoding.kind, encoding.scaling)))
        refuse_untrusted(names, f"run {self.run_id}")
        return spec

    def described(self) -> MemberSpec:
        """spec.json, which must describe the run that the folder is named after. It may name code of anybody's."""
        node = checked.read(self.path / "spec.json", dict[str, Any], self._remedy)
        if node is None:
            raise UserError(
                f"run={self.run_id}: there is no such run below {self.path.parent}; posgen status lists them"
            )
        try:
            spec: MemberSpec = restore(MemberSpec, node)
        except (TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.path / 'spec.json'}: damaged, or of another version ({reason}); {self._remedy}"
            ) from None
        if spec.run_id != self.run_id:
            raise UserError(
                f"{self.path / 'spec.json'}: describes run {spec.run_id}, not {self.run_id}: it was edited, or the "
                f"folder renamed; {self._remedy}"
            )
        return spec

    def config(self) -> dict[str, Any]:
        """The full resolved configuration of the training, as plain containers."""
        from omegaconf import OmegaConf

        file = self.path / "config.yaml"
        text = checked.read_text(file, self._remedy)
        try:
            config = OmegaConf.to_container(OmegaConf.create(text or ""))
        except Exception:  # yaml and OmegaConf have many kinds
            config = None
        if not isinstance(config, dict) or not {"task", "data", "model", "optim"} <= set(config):
            raise UserError(f"{file} is missing or damaged: {self._remedy}")
        return {str(key): value for key, value in config.items()}

    def state(self) -> dict[str, Any] | None:
        """The saved state, or None when the member has not begun. UserError when it is damaged."""
        population = self.info().get("population")
        state = states.load(self.path.parent, population).get(self.run_id) if population else None
        return state if state is not None else self._state_of_version_0_1()

    def _state_of_version_0_1(self) -> dict[str, Any] | None:
        """A state in a file of the run's own."""
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            owner = state.pop("run_id")
        except Exception as error:  # torch raises many kinds for a damaged file
            raise UserError(f"{file} cannot be read ({type(error).__name__}): {self._remedy}") from None
        if owner != self.run_id:
            raise UserError(f"{file} belongs to run {owner}: {self._remedy}")
        return state

    def save_outcome(
        self,
        status: str,
        history: Sequence[Mapping[str, Any]],
        chosen: Mapping[str, int | None],
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """How it ended, the history, the epoch of each chosen checkpoint, and its weights."""
        # Weights, then the history with their checksums, which is what makes a run done; a state goes last.
        sums = {}
        for label, params in weights.items():
            with replacing(self._weights(label)) as beside:
                save_file({k: v.contiguous() for k, v in params.items()}, beside)
                sums[label] = checksum(beside)
        outcome = {"status": status, "history": list(history), "chosen": dict(chosen), "weights_sha256": sums}
        checked.write(self.path / "history.json", outcome)
        (self.path / "state.pt").unlink(missing_ok=True)

    def result(self) -> TrainingResult:
        """Of a run that is done, or, of one that goes on, so far."""
        if not self.done and (state := self.state()):
            best = state["best"]
            return TrainingResult(
                list(state["history"]),
                {label: checkpoint["epoch"] for label, checkpoint in best.items()},
                lambda label: best[label]["params"],
            )
        outcome = self._outcome()
        return TrainingResult(outcome["history"], outcome["chosen"], self.weights)

    def validated_epoch(self) -> int:
        """The epoch of the last validation of a run that goes on, 0 before the first."""
        state = self.state()
        return int(state["history"][-1]["epoch"]) if state and state["history"] else 0

    def _outcome(self) -> dict[str, Any]:
        file = self.path / "history.json"
        outcome = checked.read(file, Outcome, self._remedy)
        if outcome is None:
            raise UserError(f"{file} is missing: {self._remedy}")
        return outcome

    def weights(self, label: str) -> dict[str, Tensor]:
        """The weights chosen for a test encoding. UserError when they are not what training wrote."""
        self.check_weights(label)
        return load_file(self._weights(label))

    def weighted(self) -> list[str]:
        """The test encodings for which weights were chosen, of a run that is done."""
        return sorted(self._outcome()["weights_sha256"])

    def check_weights(self, label: str) -> None:
        """UserError when the weights chosen for a test encoding are not what training wrote."""
        file = self._weights(label)
        try:
            intact = checksum(file) == self._outcome()["weights_sha256"].get(label)
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): {self._remedy}") from None
        if not intact:
            raise UserError(f"{file} is not what training wrote: {self._remedy}")

    def _weights(self, label: str) -> Path:
        return self.path / f"weights-{label}.safetensors"
