"""`posgen encodings`: list the position encodings, and show or draw the wavelengths of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import encoding_facts as facts
from cli.shared.encodings import EncodingOptions, Fitted
from cli.shared.options import BaseOption, FactorOption, HeadDimOption, TestLengthOption, TrainLengthOption

if TYPE_CHECKING:
    from eval.evidence.figures.feature_gap import Features

FOLDER = Path("results/encodings")

encodings = typer.Typer(rich_markup_mode=None)

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ENCODING.PARAMETER=VALUE",
        help="Parameters of an encoding, by its name or its scaling's: yarn.beta_fast=32 llama3.low_freq_factor=1, or "
        "of all: pe.resonance=true",
        show_default=False,
    ),
]


@encodings.callback(invoke_without_command=True)
def listing(context: typer.Context) -> None:
    """List the position encodings: name, whether it rotates, whether it trains weights of its own, and its source.

    \b
    posgen encodings
    posgen encodings show resonance_yarn
    posgen encodings plot rope,resonance_rope
    """
    if context.invoked_subcommand is not None:
        return
    from cli.shared.encodings import fit
    from cli.shared.output import table
    from conf.overrides import choices

    listed = [fitted.encoding for fitted in fit(choices("pe"), EncodingOptions())]
    rows = [[e.name, facts.yes(e.rotary), facts.yes(e.trains), e.cited()] for e in listed]
    print(table(["name", "rotary", "trainable", "source"], rows))


@encodings.command(short_help="Print what an encoding does to each feature.")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="One that posgen encodings lists, or path/to/file.py:Class.")
    ],
    settings: Settings = None,
    head_dim: HeadDimOption = None,
    base: BaseOption = None,
    train_length: TrainLengthOption = None,
    test_length: TestLengthOption = None,
    factor: FactorOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, at full precision.")] = False,
) -> None:
    """Print an encoding's frequencies, wavelengths, attention factor and feature gaps (the paper's section 3).

    A feature is pre-critical when its wavelength is below the training length. Its gap (eq. 8, unit vectors, 0 to 2) is
    how far the farthest new position lies from all trained ones. Frequencies that depend on the length are those of a
    sequence of the test length. In JSON, null stands for an infinite wavelength and for what an encoding does not have.

    \b
    posgen encodings show resonance_rope
    posgen encodings show yarn --head-dim 128 --train-length 4096 --test-length 32768 yarn.beta_fast=32
    posgen encodings show llama3 --base 500000 --factor 8 --json
    """
    from cli.shared.encodings import fit

    options = EncodingOptions(head_dim, base, train_length, test_length, factor, tuple(settings or ()))
    (fitted,) = fit([name], options)
    features = _features(fitted)
    remarks = facts.remarks(fitted, features)
    if as_json:
        print(json.dumps(facts.as_json(fitted, features), allow_nan=False))
        if features is None or features.gaps is None:
            typer.echo(remarks[-1], err=True)  # why there is null
        return
    if factor is not None and not fitted.scaled:
        remarks.append(f"{fitted.name} has no factor: --factor {factor:g} does not change it")
    scale = f", factor {fitted.factor:g}" if fitted.scaled else ""
    source = fitted.encoding.cited()
    print("\n".join([f"{name} ({source})" if source else name, f"{facts.sizes(fitted)}{scale}", *remarks]))
    if features is not None:
        print(f"\n{facts.feature_table(features)}")


@encodings.command(short_help="Draw wavelengths, feature gaps and the paper's Figure 1.")
def plot(
    name: Annotated[str, typer.Argument(metavar="NAME[,NAME...]", help="Rotary encodings.")],
    settings: Settings = None,
    head_dim: HeadDimOption = None,
    base: BaseOption = None,
    train_length: TrainLengthOption = None,
    test_length: TestLengthOption = None,
    factor: FactorOption = None,
    feature: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Feature of Figure 1. [default: the pre-critical one of the largest gap]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures.")] = FOLDER,
) -> None:
    """Draw wavelengths and feature gaps of encodings, and the paper's Figure 1 for each: PNG and PDF.

    features.png compares the encodings, matches.png how well wrong distances match. figure1-<name>.png shows one
    pre-critical feature's values over positions, trained and new, without and with Resonance; an encoding and its
    Resonance form share it.

    \b
    posgen encodings plot rope,resonance_rope,yarn,resonance_yarn
    posgen encodings plot rope --train-length 128 --test-length 512 --feature 5 --out figures
    """
    from cli.shared.encodings import fit
    from conf.names import RESONANCE
    from conf.overrides import words
    from eval.evidence.figures.encodings import draw_features, draw_figure1, shown_feature
    from eval.evidence.figures.feature_gap import chunks, features
    from eval.evidence.figures.matches import draw_matches
    from eval.evidence.figures.style import render
    from eval.running.progress import Bar
    from eval.store.files import write_atomically
    from models.encodings import Rotary
    from posgen.errors import BadValue

    options = EncodingOptions(head_dim, base, train_length, test_length, factor, tuple(settings or ()))
    shown = fit(words("name", name), options)
    rotary: dict[str, Rotary] = {}
    for fitted in shown:
        if not isinstance(fitted.encoding, Rotary):
            raise BadValue("name", fitted.name, "does not rotate: it has no wavelengths; name rotary encodings")
        rotary[fitted.name] = fitted.encoding
    # fit() gives all the same lengths.
    lengths = (shown[0].train_length, shown[0].test_length)
    # Of each encoding its own features, those of its plain form, two forms in its Figure 1, and its matches.
    passes = len(shown) * (4 * chunks(*lengths) + chunks(0, lengths[1]))
    with _typed_lengths(), Bar("features", passes, after=1.0) as bar:
        by_name = {key: features(encoding, *lengths, bar.advance) for key, encoding in rotary.items()}
        sizes = facts.sizes(shown[0])
        figures = {
            "features": draw_features(by_name, sizes),
            "matches": draw_matches(rotary, *lengths, sizes, bar.advance),
        }
        for fitted in shown:
            if not rotary[fitted.name].takes_resonance:
                typer.echo(f"no Figure 1 of {fitted.name}: it rounds by its own settings and has no Resonance form")
                continue
            plain = replace(rotary[fitted.name], name=fitted.name.removeprefix(RESONANCE), resonance=False)
            # The name of a user's own encoding is a path.
            file = f"figure1-{re.sub('[^A-Za-z0-9_.-]+', '-', plain.name)}"
            if file in figures:
                continue
            chosen = shown_feature(features(plain, *lengths, bar.advance), feature)
            if chosen is None:
                typer.echo(f"no Figure 1 of {plain.name}: no pre-critical feature meets a new position")
            else:
                figures[file] = draw_figure1(plain, *lengths, chosen, facts.sizes(fitted), bar.advance)
    # Everything is drawn before anything is written.
    content = {f"{key}.{kind}": render(figure, kind) for key, figure in figures.items() for kind in ("png", "pdf")}
    for key, data in content.items():
        write_atomically(out / key, data)
        typer.echo(f"wrote {out / key}")


def _features(fitted: Fitted) -> Features | None:
    """None for an encoding that does not rotate."""
    from eval.evidence.figures.feature_gap import chunks, features
    from eval.running.progress import Bar
    from models.encodings import Rotary

    if not isinstance(fitted.encoding, Rotary):
        return None
    lengths = (fitted.train_length, fitted.test_length)
    with _typed_lengths(), Bar("feature gaps", chunks(*lengths), after=1.0) as bar:
        return features(fitted.encoding, *lengths, bar.advance)


@contextmanager
def _typed_lengths() -> Iterator[None]:
    """Within `with`: a length that is refused is called by its option."""
    from posgen.errors import BadValue

    try:
        yield
    except BadValue as error:
        if error.key not in ("train_length", "test_length"):
            raise
        raise BadValue(f"--{error.key.replace('_', '-')}", error.value, error.remedy) from error
