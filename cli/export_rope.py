"""`posgen export-rope`: an encoding as a configuration for stock transformers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared.encodings import EncodingOptions
from cli.shared.export_target import Target, for_model, named
from posgen.errors import BadValue, UserError, told

if TYPE_CHECKING:
    from models.hf.export import ModelConfig, SmallRun

STATES = 1e-4
"""Largest relative deviation of a small model's hidden states; float32 rounding costs about 1e-6."""


def export_rope(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ENCODING.PARAMETER=VALUE",
            help="Parameters of the encoding, by its name or its scaling's: yarn.beta_fast=32",
            show_default=False,
        ),
    ] = None,
    pe: Annotated[
        str | None,
        typer.Option(
            "--pe",
            metavar="NAME",
            help="A rotary encoding that posgen encodings lists. [default: with --config Resonance on what the model "
            "has, else resonance_yarn]",
            show_default=False,
        ),
    ] = None,
    head_dim: Annotated[
        int | None,
        typer.Option("--head-dim", metavar="N", help="Rotary dimensions of a head.", show_default=False),
    ] = None,
    base: Annotated[
        float | None,
        typer.Option("--base", metavar="X", help="RoPE base. [default: 10000]", show_default=False),
    ] = None,
    train_length: Annotated[
        int | None,
        typer.Option("--train-length", metavar="N", help="Context length of the training, L.", show_default=False),
    ] = None,
    test_length: Annotated[
        int | None, typer.Option("--test-length", metavar="N", help="Target context length.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The model's config.json (or its folder): gives head size, base, L and scaling.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="A file if it ends in .json, else a folder for config.json (with --config) or rope.json.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a rotary encoding as a configuration that stock Hugging Face transformers reads without this package.

    The rope type is longrope, which expresses any fixed table: a factor for each feature, and the attention factor.
    With --config a whole config.json is written with the new rope in it, without it only the keys to merge into one.

    A scaling that the model already has (YaRN, Llama 3, ...) keeps every parameter of its configuration; an option that
    contradicts it is an error, and another scaling in --pe replaces it. What the architecture reads besides the rotary
    table (a softmax scale, M-RoPE's sections) is kept. For a model without scaling, YaRN's beta_fast defaults to 32,
    the paper's value for LLaMA2.

    Before anything is written, transformers reads the file in a process of its own: its frequencies must equal the
    encoding's, and with --config a small model of the architecture must compute what it computes in memory.

    \b
    posgen export-rope --head-dim 128 --train-length 4096 --test-length 32768 --out rope.json
    posgen export-rope --config path/to/config.json --out resonant-model
    posgen export-rope --pe resonance_yarn --config path/to/config.json --test-length 32768 --out long-model
    """
    from eval.store.files import write_atomically
    from models.hf.longrope import deviation, fragment, longrope, merged, standalone, stock_rope

    if out is None:
        raise UserError("--out is missing: say where to write, such as --out rope.json")
    path = out if out.suffix == ".json" else out / ("rope.json" if config is None else "config.json")
    options = EncodingOptions(head_dim, base, train_length, test_length, None, tuple(settings or ()))
    if config is None:
        _complete(options)
        target, _ = named(pe or "resonance_yarn", options)
        rope = longrope(target.encoding, target.train_length, target.test_length)
        written = fragment(rope, target.test_length)
        checked = _lengths(target)
        stock = stock_rope(standalone(target.encoding.head_dim, written), checked)
        ran = None
    else:
        source = config / "config.json" if config.is_dir() else config
        raw = _read(source)
        if path.exists() and path.samefile(source):
            raise BadValue("out", str(out), f"would replace {source}, which is read; name another place")
        model = _model(raw)
        target = for_model(model, pe, options)
        rope = longrope(target.encoding, target.train_length, target.test_length, target.factor)
        written = merged(raw, rope, target.test_length, model.kept())
        checked = _lengths(target)
        run = _small_run(model, target)
        save = None if isinstance(run, str) else partial(_save_small, run, model, rope, target.test_length)
        stock = stock_rope(written, checked, save)
        ran = run if isinstance(run, str) else run.deviation(stock.hidden_states or [])
        if isinstance(ran, float) and not ran <= STATES:
            raise UserError(
                f"transformers {stock.version} computes something else from this configuration than re_rope gives in "
                f"memory (hidden states of a small model deviate by {ran:.1e}); use import models.hf and re_rope"
            )
    worst = deviation(target.encoding, stock, checked)
    write_atomically(path, (json.dumps(written, indent=2) + "\n").encode())

    print(f"wrote {path}: {target.described}, as rope type longrope, attention factor {rope['attention_factor']:g}")
    print(
        f"read by transformers {stock.version} without posgen: {len(rope['short_factor'])} frequencies at lengths "
        f"{', '.join(map(str, checked))}, the largest relative deviation {worst:.1e}"
    )
    if isinstance(ran, float):
        print(
            f"a small model of this architecture was loaded and run there, within and beyond {target.train_length} "
            f"positions: hidden states as in memory, the largest relative deviation {ran:.1e}"
        )
    elif ran is not None:
        print(f"no model was run: {ran}")
    if config is None:
        print("merge its keys into the model's config.json")


def _lengths(target: Target) -> list[int]:
    """Lengths (tokens) at which the table is compared."""
    return sorted({1, target.train_length, target.test_length, 2 * target.test_length})


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadValue("config", str(path), f"{error.strerror}; name a model's config.json") from None
    except ValueError as error:
        raise BadValue("config", str(path), f"is not JSON ({error}); name a model's config.json") from None
    if not isinstance(config, dict) or not config:
        raise BadValue("config", str(path), "holds no settings; name a model's config.json")
    return config


def _model(raw: dict[str, Any]) -> ModelConfig:
    import transformers

    from models.hf.export import ModelConfig

    transformers.utils.logging.disable_progress_bar()  # of models that are made to look, not to keep
    transformers.logging.set_verbosity_error()
    return ModelConfig.read(raw)


def _small_run(model: ModelConfig, target: Target) -> SmallRun | str:
    """A small model with the encoding in it; a sentence where the architecture cannot be made small."""
    try:
        return model.small_run(target.encoding, target.rope, target.train_length)
    except UserError:
        raise
    except Exception as error:  # a config class whose sizes hang together in another way
        return f"its architecture could not be made small ({told(error)[:200]})"


def _save_small(run: SmallRun, model: ModelConfig, rope: dict[str, Any], test_length: int, folder: Path) -> None:
    from models.hf.longrope import merged

    run.save(folder, merged(run.config, rope, test_length, model.kept()))


def _complete(options: EncodingOptions) -> None:
    for key in ("head_dim", "train_length", "test_length"):
        if getattr(options, key) is None:
            raise UserError(f"--{key.replace('_', '-')} is missing: give it, or --config")
