"""Where jobs run: each backend takes jobs, has them run by `eval.running.job.run` in other processes, and adds up what
they came to. A job started twice does no harm: `run` claims its members first."""

from __future__ import annotations

from pathlib import Path

from conf.backends import BackendKind, BackendSpec
from eval.running.job import RunSettings
from eval.running.sweep import Backend


def backend_of(spec: BackendSpec, settings: RunSettings, results: Path) -> Backend | None:
    """The backend that a configuration asks for; None: this process. `results`: the results folder, which takes logs
    and posted jobs. UserError where a package that it needs is not installed, or other machines could not follow the
    settings: before anything is written."""
    if spec.kind is BackendKind.slurm:
        from eval.running.backends.slurm import Slurm

        return Slurm(spec, results / "slurm")
    if spec.kind is BackendKind.ray:
        from eval.running.backends.ray import Ray

        return Ray(spec)
    if spec.kind is BackendKind.post:
        from eval.running.backends.post import Post

        return Post(settings, results)
    if spec.processes == 1:
        return None
    from eval.running.backends.local import Processes

    return Processes(spec.processes)
