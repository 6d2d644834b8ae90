"""`posgen evaluate`: measure finished runs again, at other lengths or under other encodings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import CodeOption, DeviceOption, PeOption, ProtocolOption, ThreadsOption
from cli.shared.request import Request, request
from posgen.errors import BadValue, UserError, nearest

if TYPE_CHECKING:
    from models.spec import EncodingSpec


@dataclass(frozen=True)
class _Origin:
    """What runs must share to be measured together; lengths in tokens."""

    profile: str
    sweep: str
    train_length: int
    test_length: int
    bos: bool
    base: float


def evaluate(
    run_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_ID",
            help="Finished runs (posgen status --runs), and settings among them: pe.params.factor=8 paths.results=DIR",
            show_default=False,
        ),
    ],
    length: Annotated[
        str | None,
        typer.Option(metavar="N[,N...]", help="Lengths in tokens. [default: the run's own]", show_default=False),
    ] = None,
    accuracy: Annotated[
        str, typer.Option(help="teacher_forced (after the true tokens) or free_running (after the model's own).")
    ] = "teacher_forced",
    pe: PeOption = None,
    protocol: ProtocolOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    code: CodeOption = None,
) -> None:
    """Measure finished runs at other lengths, under other encodings or by free-running generation.

    The records go to results/runs/records.jsonl, apart from those that the tables are drawn from.

    Without --pe a run is tested with the encodings that it was validated with. With --pe it is tested with those
    instead, their scaling fitted to the lengths of its training as --protocol says (default zero_shot).

    \b
    posgen evaluate 0123456789ab --length 64,128,256,512
    posgen evaluate 0123456789ab --accuracy free_running
    posgen evaluate 0123456789ab fedcba987654 --pe pi,ntk,yarn pe.params.factor=4
    """
    from cli.shared.options import trust_named
    from conf.overrides import numbers

    trust_named(code)

    # Arguments are run ids and settings; only a setting has an equals sign, or a sign in front.
    settings = [word for word in run_ids if "=" in word or word.startswith(("+", "~"))]
    requested = request(
        settings,
        takes=("pe", "protocol"),
        roots=("pe", "protocol", "paths", "device", "threads"),
        pe=pe,
        protocol=protocol,
        device=device,
        threads=threads,
        default_pe=None,
        default_profile="quick",
    )
    if len(requested.protocols or []) > 1:
        raise BadValue("protocol", protocol, "give one: it decides how --pe is fitted to the run's lengths")
    ids = [word for word in dict.fromkeys(run_ids) if word not in settings]
    if not ids:
        raise UserError("RUN_ID is missing: name finished runs; posgen status --runs lists them")
    lengths = None if length is None else numbers("length", length)
    if any(n < 1 for n in lengths or ()):
        raise BadValue("length", length, "use lengths of at least 1 token")
    _measure(ids, requested, lengths, accuracy)


def _measure(run_ids: Sequence[str], requested: Request, lengths: list[int] | None, accuracy: str) -> None:
    from cli.shared.training import results_table
    from conf.compose import Choice, compose
    from eval.running.evaluation import evaluate_runs
    from eval.running.request import records_path, settings_of
    from models.spec import AccuracyMode

    modes = {mode.value: mode for mode in AccuracyMode}
    if accuracy not in modes:
        raise BadValue("accuracy", accuracy, nearest(accuracy, modes))
    base = compose(Choice(), [text for text in requested.overrides if not text.startswith("pe.")])
    groups: dict[_Origin, list[str]] = {}
    for run_id in run_ids:
        groups.setdefault(_origin(Path(base.paths.runs), run_id), []).append(run_id)
    # Every encoding is composed before anything is measured.
    jobs = [(origin, ids, _encodings(requested, origin)) for origin, ids in groups.items()]
    records = []
    for origin, ids, encodings in jobs:
        settings = settings_of(base, origin.sweep, origin.profile, records_path(base, apart=True))
        records += evaluate_runs(ids, settings, lengths, encodings, modes[accuracy], _told)
    print(results_table(records))


def _told(seconds: float) -> None:
    from cli.shared.output import duration

    line = f"posgen: about {duration(seconds)}, timed on a part of it just now; Ctrl-C ends it, with nothing written"
    print(line, file=sys.stderr, flush=True)


def _origin(runs: Path, run_id: str) -> _Origin:
    from eval.store.runs import Run

    run = Run(runs, run_id)
    spec = run.spec()  # first: it is the error for a run that does not exist
    info, data = run.info(), spec.data
    return _Origin(
        info["profile"], info["sweep"], data.train_length, data.test_length, spec.model.bos, spec.train_encoding.base
    )


def _encodings(requested: Request, origin: _Origin) -> list[EncodingSpec] | None:
    """The encodings of --pe, scaled for a run of these lengths; None without --pe: the run's own."""
    from conf.compose import Choice, composer

    if not requested.pes:
        if any(text.startswith("pe.") for text in requested.overrides):
            raise BadValue("pe", "...", "settings of an encoding need --pe NAME")
        return None
    protocol = (requested.protocols or ["zero_shot"])[0]
    fitted = [f"data.test_length={origin.test_length}", f"data.train_length={origin.train_length}"]
    fitted += [f"protocol.bos={str(origin.bos).lower()}"]
    if not any(text.startswith("pe.base=") for text in requested.overrides):
        fitted += [f"pe.base={origin.base}"]
    fitted += requested.overrides
    with composer() as make:
        return [make(Choice(pe=pe, protocol=protocol), fitted).pe for pe in requested.pes]
