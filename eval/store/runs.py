"""Run folders: results/runs/<run_id> holds what one member was asked, how far it came, its state and its weights.

run.json (status and provenance), config.yaml (the full resolved configuration), spec.json (the member), and then
state.pt while it trains, or history.json and weights-<test encoding>.safetensors when it is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor

from eval.store.files import checksum, replacing, write_atomically
from eval.store.records import LOCK
from models.spec import MemberSpec
from posgen.errors import UserError
from posgen.own_code import refuse_untrusted
from posgen.plain import plain, restore

_RUN_ID = re.compile(r"[0-9a-f]{12}")
DONE = ("finished", "diverged")


@dataclass(frozen=True)
class TrainingResult:
    """What a training has to show: its validations, the epoch of the checkpoint chosen for each test encoding, and
    that checkpoint's weights, read when they are asked for."""

    history: list[dict[str, Any]]
    chosen: dict[str, int | None]
    weights: Callable[[str], Mapping[str, Tensor]]


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Run:
    """One run folder. Files are replaced whole; a killed process leaves the last complete state."""

    def __init__(self, runs_dir: Path, run_id: str) -> None:
        """UserError for what is no run id: it names a folder."""
        if not _RUN_ID.fullmatch(run_id):
            raise UserError(f"run={run_id[:60]}: a run id is 12 digits of 0-9a-f; posgen status lists them")
        self.run_id = run_id
        self.path = runs_dir / run_id
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
        return True

    def release(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def describe(self, spec: MemberSpec, config: Mapping[str, Any]) -> None:
        """Write what was asked: the member, and the full resolved configuration."""
        from omegaconf import OmegaConf

        write_atomically(self.path / "spec.json", _json(plain(spec)))
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode())

    def forget(self) -> None:
        """Empty the folder, so that its member begins again. UserError while another process has it."""
        if not self.claim():
            raise UserError(
                f"run {self.run_id} is being trained by another process; wait for it, or stop it and try again"
            )
        for file in self.path.iterdir():
            if file.name != LOCK:
                file.unlink()
        self.release()

    def info(self) -> dict[str, Any]:
        """run.json, or {} when there is none."""
        return dict(self._read("run.json") or {})

    def report(self, **changes: Any) -> None:
        """Change entries of run.json."""
        write_atomically(
            self.path / "run.json", _json({**self.info(), "run_id": self.run_id, **changes, "updated": now()})
        )

    @property
    def done(self) -> bool:
        return self.info().get("status") in DONE and (self.path / "history.json").exists()

    def spec(self) -> MemberSpec:
        """The member as it was trained. UserError when there is no such run."""
        node = self._read("spec.json")
        if node is None:
            raise UserError(
                f"run={self.run_id}: there is no such run below {self.path.parent}; posgen status lists them"
            )
        try:
            spec: MemberSpec = restore(MemberSpec, node)
        except (TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.path / 'spec.json'}: damaged, or of another version ({reason}); train this member again"
            ) from None
        if spec.run_id != self.run_id:
            raise UserError(
                f"{self.path / 'spec.json'}: describes run {spec.run_id}, not {self.run_id}: it was edited, or the "
                "folder renamed; put it back, or train this member again"
            )
        encodings = (spec.train_encoding, *spec.test_encodings)
        names = (spec.task.h, *(name for encoding in encodings for name in (encoding.kind, encoding.scaling)))
        refuse_untrusted(names, f"run {self.run_id}")
        return spec

    def config(self) -> dict[str, Any]:
        """The full resolved configuration of the training, as plain containers."""
        from omegaconf import OmegaConf

        file = self.path / "config.yaml"
        try:
            config = OmegaConf.to_container(OmegaConf.load(file))
        except Exception:  # yaml and OmegaConf have many kinds
            config = None
        if not isinstance(config, dict) or not {"task", "data", "model", "optim"} <= set(config):
            raise UserError(f"{file} is missing or damaged: delete {self.path} and train this member again")
        return {str(key): value for key, value in config.items()}

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state that a continued training starts from."""
        # Straight to the disk: a copy in memory would double what a large model takes.
        with replacing(self.path / "state.pt") as beside:
            torch.save({**state, "run_id": self.run_id}, beside)

    def state(self) -> dict[str, Any] | None:
        """The saved state, or None when the member has not begun. UserError when it is damaged."""
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise UserError(
                f"{file} cannot be read ({type(error).__name__}): begin again with --fresh, or delete {self.path}"
            ) from None
        if state.get("run_id") != self.run_id:
            raise UserError(f"{file} belongs to run {state.get('run_id')}: begin again with --fresh, or put it back")
        return state

    def save_outcome(
        self,
        history: Sequence[Mapping[str, Any]],
        chosen: Mapping[str, int | None],
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """The history, the epoch of each chosen checkpoint, and its weights; the state is no longer needed."""
        # Weights, then the history with their checksums, and only then away with the state: a process killed in between
        # leaves a state to go on from, or a whole outcome.
        sums = {}
        for label, params in weights.items():
            with replacing(self._weights(label)) as beside:
                save_file({k: v.contiguous() for k, v in params.items()}, beside)
                sums[label] = checksum(beside)
        outcome = {"history": list(history), "chosen": dict(chosen), "weights_sha256": sums}
        write_atomically(self.path / "history.json", _json(outcome))
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
        outcome = self._read("history.json")
        if not isinstance(outcome, dict) or not {"history", "chosen", "weights_sha256"} <= set(outcome):
            raise UserError(f"{self.path / 'history.json'} is damaged: delete {self.path} and train this member again")
        return outcome

    def weights(self, label: str) -> dict[str, Tensor]:
        """The weights chosen for a test encoding."""
        file = self._weights(label)
        try:
            intact = checksum(file) == self._outcome()["weights_sha256"].get(label)
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): delete {self.path} and train again") from None
        if not intact:
            raise UserError(f"{file} is not what training wrote: delete {self.path} and train this member again")
        return load_file(file)

    def _weights(self, label: str) -> Path:
        return self.path / f"weights-{label}.safetensors"

    def _read(self, name: str) -> Any:
        file = self.path / name
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{file} is damaged: delete {self.path} and train this member again") from None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
