"""A declared experiment as a sweep: every cell of its design on every task, with the seeds that a profile declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conf.experiments import DeclaredProfile, Experiment
from conf.factors import DesignCell, setting
from conf.overrides import read
from conf.schema import Config
from eval.running.plan import Derived, plan_places, settings
from eval.running.progress import Bar
from eval.running.request import PlannedSweep, check_fits_here, settings_of
from eval.store.declared import check_declaration, folder_of
from eval.store.kinds import Declared
from eval.store.records import load_if_there
from posgen.errors import BadValue, UserError

_SCALE = "pe.logit_scale"


def plan_experiment(
    experiment: Experiment, profile: str, overrides: Sequence[str] = (), fits: bool = True, fresh: bool = False
) -> PlannedSweep:
    """The sweep of an experiment under one of its profiles. `overrides`: checked settings (conf.overrides.read), which
    may be none of those that are declared; where they change numbers, the profile is called after them and is not the
    declared one. Seeds are the declared ones and change no name.

    Raises BadValue or UserError, one line each: for a profile that is not declared, a setting that does not fit, what
    does not fit into this machine (unless `fits` is false), or records of another declaration in the same place.
    """
    declared = experiment.profile(profile)
    _check_overrides(experiment, declared, overrides)
    base = settings(profile, [*declared.overrides, *overrides])
    # What is declared lies where the profile's other results do, whatever its settings make the profile's name.
    home = profile if base.profile.name == declared.recorded else base.profile.name
    path = Path(base.paths.results) / home / folder_of(experiment.name) / "records.jsonl"
    check_declaration(experiment, load_if_there(path), path)
    with Bar("planning", len(experiment.tasks) * len(experiment.cells), after=1.0) as bar:
        members = _members(experiment, declared, [*declared.overrides, *overrides], base, bar.advance)
    run_settings = replace(
        settings_of(base, f"{base.profile.name}-{experiment.name}", base.profile.name, path),
        experiment=Declared(experiment.name, experiment.digest),
    )
    planned = PlannedSweep(base, members, run_settings)
    if fits:
        check_fits_here(planned, fresh)
    return planned


def _members(
    experiment: Experiment,
    declared: DeclaredProfile,
    overrides: Sequence[str],
    base: Config,
    ticked: Callable[[], None],
) -> list[Any]:
    derived = {cell.name: Derived(cell.pe, tuple(_settings(experiment, cell))) for cell in experiment.cells}
    places = [
        (task, cell.name, protocol_of(experiment, cell)) for task in experiment.tasks for cell in experiment.cells
    ]
    return plan_places(places, declared.seeds, declared.name, overrides, base.profile, ticked, derived)


def protocol_of(experiment: Experiment, cell: DesignCell) -> str:
    """The protocol of a cell: the declared one, with the switches that the cell's levels override in its name."""
    switches = [(key.partition(".")[2], value) for key, value in cell.settings.items() if key.startswith("protocol.")]
    return "+".join([experiment.protocol, *(setting(key, value) for key, value in switches)])


def _settings(experiment: Experiment, cell: DesignCell) -> Iterator[str]:
    """What a cell sets, in Hydra's grammar and checked, but for the switches, which its protocol names."""
    texts = [setting(key, value) for key, value in cell.settings.items() if not key.startswith("protocol.")]
    if trained_as := _trained_as(experiment, cell):
        texts.append(setting("pe.trained_as", trained_as))
    try:
        yield from read(texts).overrides
    except UserError as error:
        raise UserError(f"cell {cell.name}: {error}") from None


def _trained_as(experiment: Experiment, cell: DesignCell) -> str:
    """The cell that is the same but for a scale of the logits, whose training this one's is where the scale is 1 up to
    the training length (eval.running.plan.trained_with). Empty where there is none."""
    if _SCALE not in cell.settings:
        return ""
    without = {key: value for key, value in cell.settings.items() if key != _SCALE}
    return next((other.name for other in experiment.cells if (other.pe, other.settings) == (cell.pe, without)), "")


def _check_overrides(experiment: Experiment, declared: DeclaredProfile, overrides: Sequence[str]) -> None:
    varied = {key for cell in experiment.cells for key in cell.settings} | set(declared.settings)
    for text in overrides:
        key, _, value = text.partition("=")
        if key in varied or key.partition(".")[0] in ("pe", "task", "protocol"):
            raise BadValue(key, value, f"is what experiment {experiment.name} declares; leave it out")
