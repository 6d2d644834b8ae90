"""Run folders: results/runs/<run_id> holds what one member was asked, how far it came, its state and its weights.

run.json (status and provenance), config.yaml (the full resolved configuration), spec.json (the member), and, when it is
done, history.json and weights-<test encoding>.safetensors. While it trains, run.json names the population whose file in
eval.store.states holds its state. Every file has a checksum: weights in history.json, the others in themselves.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from eval.store import checked, states
from eval.store.claims import Claim, ClaimLostError
from eval.store.files import checksum, replacing
from eval.store.leases import LEASE, Holder
from eval.store.records import LOCK
from eval.store.run_files import Outcome, RunInfo, joined, read_config, read_spec, read_state
from models.spec import EncodingSpec, MemberSpec
from posgen.errors import UserError
from posgen.own_code import refuse_untrusted
from posgen.plain import plain

_RUN_ID = re.compile(r"[0-9a-f]{12}")
DONE = ("finished", "diverged")


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
            raise UserError(f"run={run_id[:60]}: a run id is 12 digits of 0-9a-f; posgen status --runs lists them")
        self.run_id = run_id
        self.path = runs_dir / run_id
        # Not --fresh, which forgets every run that the command names.
        self._remedy = f"put it back, or delete {self.path}: this training then begins again"
        self._claim = Claim(self.path, LOCK)

    def claim(self) -> bool:
        """Take the folder for this process; False while another process, here or on another machine, has it."""
        if self._claim.held:
            return True
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._claim.take():
                return False
        except OSError as error:
            raise UserError(
                f"paths.runs={self.path.parent}: {error.strerror}; name a folder that can be written"
            ) from None
        for file in self.path.glob(".*.tmp"):
            file.unlink(missing_ok=True)  # of a process that was killed
        return True

    def claimable(self) -> bool:
        """Whether `claim` would succeed now. Asked again and again, it finds out holders that give no sign of life."""
        return self._claim.held or not self.path.exists() or self._claim.available()

    def alive_since(self, moment: float) -> bool:
        """Whether `claimable`, asked several times, has seen since then (time.monotonic) that a holder lives."""
        return self._claim.alive_since(moment)

    def release(self) -> None:
        """Let another process have the folder."""
        self._claim.release()

    @property
    def claim_lost(self) -> bool:
        """Whether it is known that another process has taken the folder over; costs nothing to ask."""
        return self._claim.held and self._claim.lease.lost

    def check_claim(self) -> None:
        """Raise ClaimLostError where the folder was claimed and another process has taken it over since: this process
        was away for so long that it counted as dead. Nothing can tie this to the write that follows; but a yes also
        shows the others that this process lives, so that none takes over within the next minute."""
        if self._claim.held and not self._claim.lease.holds():
            raise ClaimLostError(self.run_id)

    def holder(self) -> Holder | None:
        """Who has the folder."""
        return self._claim.lease.holder()

    def describe(self, spec: MemberSpec, config: Mapping[str, Any]) -> None:
        """Write what was asked: the member, with the test encodings of earlier calls, and the full resolved
        configuration."""
        from omegaconf import OmegaConf

        self.check_claim()
        if (self.path / "spec.json").exists():
            earlier = self.described().test_encodings
            new = [encoding for encoding in spec.test_encodings if encoding not in earlier]
            spec = dataclasses.replace(spec, test_encodings=(*earlier, *new))
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
            if not file.name.startswith((LOCK, LEASE)):
                file.unlink()
        self.release()

    def info(self) -> dict[str, Any]:
        """run.json, or {} when there is none."""
        return checked.read(self.path / "run.json", RunInfo, self._remedy) or {}

    def report(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self.check_claim()
        checked.write(self.path / "run.json", {**self.info(), "run_id": self.run_id, **changes, "updated": now()})

    @property
    def done(self) -> bool:
        """Whether it has an outcome, and so is never trained again."""
        return (self.path / "history.json").exists() and self.status in DONE

    def covers(self, spec: MemberSpec) -> bool:
        """Whether it is done, and has chosen weights for every encoding that this member is tested with."""
        if not self.done:
            return False
        return self.status == "diverged" or spec.labels.keys() <= self._outcome()["chosen"].keys()

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
        return read_spec(self.path / "spec.json", self.run_id, self._remedy)

    def labels(self, spec: MemberSpec) -> dict[str, EncodingSpec]:
        """The test encodings of `spec` by the labels under which this run keeps them."""
        if spec.run_id == self.run_id:
            return spec.labels
        # Version 0.1 added the key only where two encodings of a run shared their name.
        names = [encoding.name for encoding in spec.test_encodings]
        return {e.name if names.count(e.name) == 1 else f"{e.name}~{e.key}": e for e in spec.test_encodings}

    def config(self) -> dict[str, Any]:
        """The full resolved configuration of the training, as plain containers."""
        return read_config(self.path / "config.yaml", self._remedy)

    def state(self) -> dict[str, Any] | None:
        """The saved state, or None when the member has not begun. UserError when it is damaged."""
        population = self.info().get("population")
        state = states.load(self.path.parent, population).get(self.run_id) if population else None
        return state if state is not None else read_state(self.path / "state.pt", self.run_id, self._remedy)

    def save_outcome(
        self,
        status: str,
        history: Sequence[Mapping[str, Any]],
        chosen: Mapping[str, int | None],
        weights: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """How it ended, the history, the epoch of each chosen checkpoint, and its weights.

        Of a run that is done already and was trained again for further test encodings, these are added; what it had
        stays. UserError when it then ended otherwise.
        """
        outcome: dict[str, Any] = {"status": status, "history": list(history), "chosen": dict(chosen)}
        sums: dict[str, str] = {}
        if self.done:
            outcome = joined({**self._outcome(), "status": self.status}, outcome, self.run_id)
            sums = dict(outcome["weights_sha256"])
            weights = {label: params for label, params in weights.items() if label not in sums}
        # Weights, then the history with their checksums, which is what makes a run done; a state goes last.
        self.check_claim()
        for label, params in weights.items():
            with replacing(self._weights(label)) as beside:
                save_file({k: v.contiguous() for k, v in params.items()}, beside)
                sums[label] = checksum(beside)
        outcome["weights_sha256"] = sums
        self.check_claim()
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
        """The test encodings for which weights were chosen, of a run that is done; none once they were cleaned away."""
        if self.info().get("weights_removed"):
            return []
        return sorted(self._outcome()["weights_sha256"])

    def check_weights(self, label: str) -> None:
        """UserError when the weights chosen for a test encoding are not what training wrote."""
        file = self._weights(label)
        try:
            intact = checksum(file) == self._outcome()["weights_sha256"].get(label)
        except OSError as error:
            if removed := self.info().get("weights_removed"):
                raise UserError(
                    f"{file} was removed by posgen clean at {removed}; train this member again with --fresh"
                ) from None
            raise UserError(f"{file} cannot be read ({error.strerror}): {self._remedy}") from None
        if not intact:
            raise UserError(f"{file} is not what training wrote: {self._remedy}")

    def _weights(self, label: str) -> Path:
        return self.path / f"weights-{label}.safetensors"
