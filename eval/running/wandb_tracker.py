"""Weights & Biases: every member a run of its own, all open at once in one process.

W&B makes a chart of every name that is logged and, grouped, a line of every group: the mean of those of its runs that
have the name. So a name says the task (`figure3/cot`), a group everything but task and seed: each chart then compares
the encodings of one task, and no line averages over tasks. docs/wandb.md shows what this looks like.

A run's id is the member's `run_id`, so an interrupted training that goes on continues its run. Online, W&B resumes the
run and drops the rows that it already has (the step of a row is the training's own step). Offline, every start writes
one more folder `offline-run-<time>-<run_id>`, and `wandb sync` uploads the folders of one id as one run, oldest first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conf.schema import TrackMode
from eval.running.tracker import TrackedMember

if TYPE_CHECKING:
    import wandb

# What W&B shows beside a run: 0 is "finished", anything else "failed" (a failed run can be resumed). 130 is Ctrl-C's.
EXIT_CODES = {"finished": 0, "diverged": 1, "interrupted": 130, "stopped": 130}
# How the names of all charts begin, in W&B's order. They have the epoch on their x axis, as Figure 3 has.
SECTIONS = ("figure3/", "id_", "ood_", "tested_with_", "train_")
_TRAINING = ("train_loss", "train_accuracy", "lr")
_TAG, _GROUP = 64, 128  # characters that W&B takes


def to_stderr(line: str) -> None:
    """Print one line for the person at the terminal."""
    print(f"posgen: {line}", file=sys.stderr)


class WandbTracker:
    """A `Tracker` that writes W&B runs below `directory` and, online, to the server.

    Parameters
    ----------
    directory : all of W&B's own files go below it (unless WANDB_DATA_DIR or WANDB_CACHE_DIR says otherwise)
    project, entity : as in wandb.init
    mode : where the runs go; a WANDB_MODE in the environment decides `auto`
    init_timeout : seconds to wait for the server, once: when it does not answer, all members are tracked offline
    finish_timeout : seconds to wait at the end for what is not uploaded yet; it stays on disk for `wandb sync`
    report : shows one line to the person who waits (falling back, giving up, the address of the runs)
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str = "posgen",
        entity: str | None = None,
        mode: TrackMode = TrackMode.auto,
        init_timeout: float = 15.0,
        finish_timeout: float = 30.0,
        report: Callable[[str], None] = to_stderr,
    ) -> None:
        self.directory = directory
        self.project = project
        self.entity = entity
        self.mode = mode
        self.init_timeout = init_timeout
        self.finish_timeout = finish_timeout
        self._report = report
        self._runs: dict[str, wandb.Run] = {}
        self._members: dict[str, TrackedMember] = {}
        self._endings: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="wandb-finish")  # one may have to wait

    def start(self, members: Sequence[TrackedMember]) -> None:
        """Open a run for every member; online is tried once, for all of them or none."""
        if self.mode is TrackMode.disabled or not members:
            return
        with self._training_goes_on():
            import wandb

            os.environ.setdefault("WANDB_DATA_DIR", os.fspath(self.directory.resolve() / "data"))
            os.environ.setdefault("WANDB_CACHE_DIR", os.fspath(self.directory.resolve() / "cache"))
            self.directory.mkdir(parents=True, exist_ok=True)
            wandb.setup(settings=wandb.Settings(silent=True))
            self.mode = self._resolve()
            if self.mode is TrackMode.online:
                try:
                    self._open(members, "online")
                    self._report(f"W&B: {next(iter(self._runs.values())).project_url}")
                    return
                except Exception as error:
                    self._report(f"W&B does not answer, tracking offline: {_first_line(error)}")
                    self.mode = TrackMode.offline
                    # W&B's service keeps the id of a run that failed to start; only a new service gives it free.
                    self._runs.clear()
                    wandb.teardown(exit_code=EXIT_CODES["interrupted"])
            if self.mode is TrackMode.offline:
                self._open(members, "offline")

    def log(self, run_id: str, row: Mapping[str, Any]) -> None:
        """One point of every curve of the member, at the training's own step."""
        run = self._runs.get(run_id)
        if run is not None:
            with self._training_goes_on():
                run.log(curves(self._members[run_id], row), step=row["step"], commit=True)

    def present(self, run_id: str, show: Callable[[wandb.Run], None]) -> bool:
        """Let `show` log more to an open run. False, and reported, when it could not."""
        run = self._runs.get(run_id)
        if run is not None:
            with self._training_goes_on():
                show(run)
        return run_id in self._runs

    def finish(self, run_id: str, summary: Mapping[str, Mapping[str, Any]], status: str) -> None:
        """Write the summary and let the run end; uploads go on in the background until `close`."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            with self._training_goes_on():
                run.summary.update({"status": status, **_nested("test", summary)})
                self._endings.append(self._pool.submit(run.finish, exit_code=EXIT_CODES[status]))

    def close(self) -> None:
        """End the runs that are still open as interrupted and wait, `finish_timeout` at most, for all of them."""
        for run_id in list(self._runs):
            self.finish(run_id, {}, "interrupted")
        for ending in self._endings:
            with self._training_goes_on():
                ending.result()
        self._endings.clear()

    def _resolve(self) -> TrackMode:
        """The mode that the asked one comes to on this machine; `online` needs credentials, so that W&B never asks."""
        import wandb

        mode = self.mode
        if mode is TrackMode.auto and os.environ.get("WANDB_MODE") in {m.value for m in TrackMode}:
            mode = TrackMode(os.environ["WANDB_MODE"])
        if mode in (TrackMode.auto, TrackMode.online) and not wandb.login(prompt=False, verify=False):
            if mode is TrackMode.online:
                self._report("no W&B credentials (run `wandb login` or set WANDB_API_KEY), tracking offline")
            return TrackMode.offline
        return TrackMode.online if mode is TrackMode.auto else mode

    def _open(self, members: Sequence[TrackedMember], mode: Literal["online", "offline"]) -> None:
        import wandb

        # Measured with 36 members offline: 0.8 s to open, 0.8 s for 75 rows each, 0.2 s to finish. Statistics of the
        # machine, code and git are left out: they cost time per run, and the records carry what matters of them.
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            finish_timeout=self.finish_timeout,
            finish_timeout_raises=True,
            init_timeout=self.init_timeout,
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        # W&B puts its files into a folder `wandb` of the one that it is given: results/wandb, not results/wandb/wandb.
        root = self.directory.resolve()
        root = root.parent if root.name == "wandb" else root
        for member in members:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=member.run_id,
                name=member.name,
                group=_short(member.group, _GROUP),
                job_type=member.job_type,
                tags=list(dict.fromkeys(_short(tag, _TAG) for tag in member.tags)),
                config=member.config,
                dir=os.fspath(root),
                mode=mode,
                resume="allow" if mode == "online" else None,
                reinit="create_new",
                settings=settings,
            )
            self._runs[member.run_id] = run
            self._members[member.run_id] = member
            run.define_metric("epoch", hidden=True)
            for section in SECTIONS:
                run.define_metric(f"{section}*", step_metric="epoch")

    @contextmanager
    def _training_goes_on(self) -> Iterator[None]:
        """Report the first error that W&B raises, and turn tracking off from there on."""
        try:
            yield
        except Exception as error:
            if self.mode is not TrackMode.disabled:
                self._report(
                    f"W&B tracking stopped ({_first_line(error)}); the rest goes on, "
                    f"and `wandb sync` uploads what is below {self.directory}"
                )
            self.mode = TrackMode.disabled
            self._runs.clear()


def curves(member: TrackedMember, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `Tracker.log` under the names that W&B shows: a section each, with a chart a task.

    `figure3/<task>`, `id_accuracy/<task>` and `ood_accuracy/<task>` are validation with the encoding that the member
    trains with, `tested_with_<encoding>/<task>_loss` and so on with the others, `train_loss/<task>` and so on training.
    """
    task = member.task
    flat = {
        f"{key if key.startswith('train_') else f'train_{key}'}/{task}": row[key] for key in _TRAINING if key in row
    }
    for label, measured in row["validation"].items():
        for key, value in measured.items():
            if label == member.trained_as:
                flat[f"{'figure3' if key == 'loss' else key}/{task}"] = value
            else:
                flat[f"tested_with_{label}/{task}_{key}"] = value
    return {"epoch": row["epoch"], **flat}


def _nested(prefix: str, by_encoding: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{prefix}/{name}/{key}": value for name, metrics in by_encoding.items() for key, value in metrics.items()}


def _short(text: str, characters: int) -> str:
    """The text, its end replaced by its hash where it is too long for W&B."""
    return text if len(text) <= characters else f"{text[: characters - 9]}~{sha256(text.encode()).hexdigest()[:8]}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
