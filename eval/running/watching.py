"""What a training tells while it runs, and when it saves its states."""

from __future__ import annotations

import time
from collections.abc import Mapping

from eval.running.job import RunSettings
from eval.running.progress import Bar
from eval.running.saving import lost_state, write_outcome
from eval.running.stopping import Stopping
from eval.running.tracker import Tracker
from eval.store import states
from eval.store.claims import ClaimLostError
from eval.store.runs import Run
from models.population import StepResult
from models.training import Progress, Trainer, Watcher


class Watch(Watcher):
    """Connects a training to the progress bar, the tracker and the run folders."""

    def __init__(
        self,
        settings: RunSettings,
        tracker: Tracker,
        stopping: Stopping,
        bar: Bar,
        folders: Mapping[str, Run],
        last: int,
    ) -> None:
        self.settings, self.tracker, self.stopping, self.bar = settings, tracker, stopping, bar
        self.folders = folders
        self.name = states.population_of(list(folders))
        # The step after which this training ends, for good or until a later call.
        self.last = last
        self._trainer: Trainer | None = None
        self.saved, self.due = time.monotonic(), False
        self.wait = settings.save_seconds
        # Those that diverged in this step.
        self.lost: list[Progress] = []
        self.note, self.read, self.shortages, self.share = "", 0.0, 0, 0.0

    def stepped(self, steps: int, result: StepResult) -> None:
        if time.monotonic() - self.read > 0.5 or steps == self.last:
            loss, accuracy = result.loss.mean().item(), result.accuracy.mean().item()
            self.note, self.read = f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %", time.monotonic()
        self.share = 0.0
        self.bar.at(steps, self.note)
        population = self.trainer.population
        if population.shortages > self.shortages:
            self.shortages = population.shortages
            passes = len(population.chunks())
            self.bar.console.print(f"memory ran out: each step now goes through its members in {passes} passes")
        # Only noted here and saved in `stop`, which comes after the validation of an epoch's last step. Not after the
        # training's last step: its outcome is written at once.
        if time.monotonic() - self.saved > self.wait and steps < self.last:
            self.due = True

    def validating(self, share: float) -> None:
        """A share of the validation at the end of an epoch is done; told where it takes long."""
        self.share += share
        if time.monotonic() - self.read > 0.5:
            self.bar.say(f"{self.note}, validation {100 * self.share:.0f} %")
            self.read = time.monotonic()

    def validated(self, member: Progress) -> None:
        self.tracker.log(member.spec.run_id, member.history[-1])

    def diverged(self, member: Progress) -> None:
        assert member.diverged_at is not None
        step, reason = member.diverged_at["step"], member.diverged_at["reason"]
        self.bar.console.print(f"run {member.spec.run_id}: stopped at step {step} because {reason}; the others go on")
        self.lost.append(member)

    def stop(self) -> bool:
        for folder in self.folders.values():
            if folder.claim_lost:
                raise ClaimLostError(folder.run_id)
        if self.lost:
            # Their outcome follows the states that know of it, as those of the others are from here on without them:
            # from an earlier state these would go on in another group.
            self.save("running")
            for member in self.lost:
                write_outcome(self.folders[member.spec.run_id], member, "diverged")
            self.lost.clear()
        if self.trainer.population.steps >= self.last:
            return True
        if self.due and not self.stopping.asked:
            self.save("running")
        return self.stopping.asked

    @property
    def trainer(self) -> Trainer:
        """The training that `follow` named."""
        assert self._trainer is not None
        return self._trainer

    def follow(self, trainer: Trainer) -> None:
        """Name the training to watch: a trainer takes its watcher when it is made, so this comes afterwards."""
        self._trainer = trainer

    def save(self, status: str) -> None:
        """Every member's state, so that the same command goes on from here."""
        began = time.monotonic()
        progress, steps = self.trainer.progress, self.trainer.population.steps
        for member in progress:
            self.folders[member.spec.run_id].check_claim()
        members = {member.spec.run_id: self.trainer.state(i) for i, member in enumerate(progress)}
        members |= {member.spec.run_id: lost_state(member, steps) for member in self.lost}
        if members:
            states.save(self.settings.runs_dir, self.name, members)
        epoch = steps // self.trainer.per_epoch
        for member in progress:
            self.folders[member.spec.run_id].report(status=status, epoch=epoch)
        self.saved, self.due = time.monotonic(), False
        # A large population's state is gigabytes: saving may take a twentieth of the time, no more.
        self.wait = max(self.settings.save_seconds, 20 * (self.saved - began))
