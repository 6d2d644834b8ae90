"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LIST = "NAME[,NAME...]"
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar=_LIST,
        help="recursive, cot, semi_recursive, or all (these three); each with hidden answers, as cot_hidden, and as "
        "their control, cot_copy; recursive_interleaved, semi_recursive_interleaved; text with a profile for it.",
        show_default=False,
    ),
]
PeOption = Annotated[
    str | None,
    typer.Option(
        "--pe",
        metavar=_LIST,
        help="Position encoding: rope, resonance_rope, yarn, resonance_yarn, or all (these four); also pi, ntk, "
        "dynamic_ntk, their resonance_ forms (posgen encodings lists all), or your own class, path/to/file.py:Class.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    str | None,
    typer.Option("--seed", metavar="N[,N...]", help="Seeds of weights, data order and dropout.", show_default=False),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar=_LIST,
        help="How a table entry is trained and tested: paper (as the text says), zero_shot and zero_shot_text (YaRN at "
        "test time only, with the code's or the text's lengths), released (as the authors' code), or a preset with "
        "overridden switches: paper+splits=released.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Size: paper (as published), narrow (as published but a narrower model, two hours on 2 cores), quick "
        "(minutes on a laptop), smoke (seconds, learns nothing); text, text_quick: language models on texts.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:N. [default: cpu]", show_default=False),
]
ThreadsOption = Annotated[
    str | None,
    typer.Option("--threads", metavar="N", help="CPU threads. [default: all available]", show_default=False),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Delete earlier runs of the same members and train from scratch.")
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="List the members, estimate memory and time from a few real steps, and stop."),
]
# Which sweep it is.
LedgerOption = Annotated[
    bool, typer.Option("--ledger", help="Ablation: train a preset with one ledger row at a time overridden.")
]
RowsOption = Annotated[
    str | None,
    typer.Option(
        "--rows", metavar="N[,N...]", help="With --ledger: rows to override. [default: all]", show_default=False
    ),
]
DirectionOption = Annotated[
    str | None,
    typer.Option(
        "--direction",
        metavar="NAME",
        help="With --ledger: the preset to start from: paper, released, or both. [default: both]",
        show_default=False,
    ),
]
LeagueOption = Annotated[
    bool, typer.Option("--league", help="Train every encoding that posgen encodings lists. [default protocol: paper]")
]
EqualIdOption = Annotated[
    bool,
    typer.Option(
        "--equal-id",
        help="With --league: train what has not learned a task again with 2, 4, ... times the epochs "
        "(conf/league.yaml), so that a rank does not say how slowly an encoding learns.",
    ),
]
DoublingsOption = Annotated[
    int | None,
    typer.Option(
        "--doublings", metavar="N", help="With --equal-id: how often at most. [default: 4]", show_default=False
    ),
]
UntilOption = Annotated[
    int | None,
    typer.Option(
        "--until",
        metavar="EPOCH",
        help="Stop at this epoch of the full schedule, measure, and keep the training states.",
        show_default=False,
    ),
]

CodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        metavar="NAME",
        help="Your own code that runs or records name and that may run here: path/to/file.py:Class or module:function. "
        "Without it nothing that data name is run; give it again for more.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Any other setting, in Hydra's grammar: optim.lr=1e-3 model.layers=6 protocol.freeze_ffn=true "
        "paths.results=DIR tracker=none",
        show_default=False,
    ),
]

# Of commands that draw from records.
RecordsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        metavar="FILE",
        help="File of records; repeatable. [default: the profile's, below results/<profile>]",
        show_default=False,
    ),
]
RecordedProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile to draw. [default: quick]", show_default=False),
]
RecordedProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME[,NAME...]",
        help="Protocols to show, such as paper,zero_shot. [default: all measured]",
        show_default=False,
    ),
]
SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep", metavar="NAME", help="Only the records of this sweep. [default: all sweeps]", show_default=False
    ),
]
PictureFormatOption = Annotated[str, typer.Option("--format", metavar="NAME[,NAME...]", help="png, svg, pdf, or all.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for the files. [default: the folder of the records]", show_default=False
    ),
]
TableFormatOption = Annotated[str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, or all.")]
TableOutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the .md and .csv. [default: print]", show_default=False),
]
RecordedTasksOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME[,NAME...]", help="Tasks to show. [default: all measured]", show_default=False),
]

# Of commands that look at an encoding.
HeadDimOption = Annotated[
    int | None,
    typer.Option("--head-dim", metavar="N", help="Dimensions of a head. [default: 64]", show_default=False),
]
BaseOption = Annotated[
    float | None,
    typer.Option("--base", metavar="X", help="RoPE base. [default: the encoding's, 10000]", show_default=False),
]
TrainLengthOption = Annotated[
    int | None,
    typer.Option("--train-length", metavar="N", help="Training length L in tokens. [default: 64]", show_default=False),
]
TestLengthOption = Annotated[
    int | None,
    typer.Option(
        "--test-length",
        metavar="N",
        help="Target length L' in tokens. [default: 256, or factor times L if L is 256 or more]",
        show_default=False,
    ),
]
FactorOption = Annotated[
    float | None,
    typer.Option("--factor", metavar="X", help="Scaling factor s. [default: L'/L]", show_default=False),
]

AdapterOption = Annotated[
    str | None, typer.Option("--adapter", metavar="DIR", help="A PEFT adapter on top.", show_default=False)
]
OtherRopeOption = Annotated[
    bool, typer.Option("--other-rope", help="Of a tuned model, measure other encodings than its own, too.")
]


def trust_named(code: list[str] | None) -> None:
    """Let this process run the code that --code names. BadValue for a name that is no code's."""
    from posgen.errors import require
    from posgen.own_code import is_own, trust

    for name in code or ():
        require(is_own(name), "code", name, "use path/to/file.py:Class or module:function")
    trust(*(code or ()))
