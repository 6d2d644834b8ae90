"""`posgen export-rope`: an encoding as a configuration for stock transformers."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.fitting import Asked
from posgen.errors import BadValue, UserError

if TYPE_CHECKING:
    from models.encodings import Rotary
    from models.export_rope import StockRope


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
        str, typer.Option("--pe", metavar="NAME", help="A rotary encoding that posgen encodings lists.")
    ] = "resonance_yarn",
    head_dim: Annotated[
        int | None,
        typer.Option("--head-dim", metavar="N", help="Scalars of a head that rotate.", show_default=False),
    ] = None,
    base: Annotated[
        float | None,
        typer.Option("--base", metavar="X", help="b of b^(-2j/d). [default: 10000]", show_default=False),
    ] = None,
    train_length: Annotated[
        int | None,
        typer.Option("--train-length", metavar="N", help="L that the model was trained on.", show_default=False),
    ] = None,
    test_length: Annotated[
        int | None, typer.Option("--test-length", metavar="N", help="L' that it shall reach.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The model's config.json (or its folder): head size and base come from it, and L if it is not given.",
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

    The rope type is longrope, which can say any fixed table: a factor for each feature, and the attention factor. With
    --config the whole config.json is written with the new rope in it, without it the keys to merge into one. Before
    anything is written, transformers reads it in a process of its own, and its frequencies must equal the encoding's.

    YaRN's beta_fast is 32 here, the paper's value for LLaMA2, unless you say otherwise.

    \b
    posgen export-rope --head-dim 128 --train-length 4096 --test-length 32768 --out rope.json
    posgen export-rope --pe resonance_yarn --config path/to/config.json --test-length 32768 --out long-model
    """
    from eval.files import write_atomically
    from models.export_rope import deviation, fragment, longrope, merged, standalone, stock_rope

    if out is None:
        raise UserError("--out is missing: say where to write, such as --out rope.json")
    path = out if out.suffix == ".json" else out / ("rope.json" if config is None else "config.json")
    raw: dict[str, Any] = {}
    if config is not None:
        source = config / "config.json" if config.is_dir() else config
        raw = _read(source)
        if path.exists() and path.samefile(source):
            raise BadValue("out", str(out), f"would replace {source}, which is read; name another place")
        stock = stock_rope(raw, [1])
        head_dim, base = _agreed("head_dim", head_dim, 2 * len(stock.inv_freq[0])), _agreed("base", base, stock.base)
        train_length = train_length or _trained(raw, stock)
    for key, value in (("head_dim", head_dim), ("train_length", train_length), ("test_length", test_length)):
        if value is None:
            raise UserError(f"--{key.replace('_', '-')} is missing: give it" + ("" if config else ", or --config"))

    encoding, lengths = _encoding(pe, Asked(head_dim, base, train_length, test_length, None, tuple(settings or ())))
    rope = longrope(encoding, *lengths)
    keys = fragment(rope, lengths[1])
    written = merged(raw, rope, lengths[1]) if raw else keys
    checked = (1, *lengths, 2 * lengths[1])
    stock = stock_rope(written if raw else standalone(encoding.head_dim, keys), checked)
    worst = deviation(encoding, stock, checked)
    write_atomically(path, (json.dumps(written, indent=2) + "\n").encode())

    print(f"wrote {path}: {_described(encoding)}, as rope type longrope, attention factor {rope['attention_factor']:g}")
    print(
        f"read by transformers {stock.version} without posgen: {len(rope['short_factor'])} frequencies, "
        f"the largest relative deviation {worst:.1e}"
    )
    if not raw:
        print("merge its keys into the model's config.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadValue("config", str(path), f"{error.strerror}; name a model's config.json") from None
    except ValueError as error:
        raise BadValue("config", str(path), f"is not JSON ({error}); name a model's config.json") from None
    if not isinstance(found, dict) or not found:
        raise BadValue("config", str(path), "holds no settings; name a model's config.json")
    return found


def _agreed(key: str, given: Any, found: Any) -> Any:
    """What the configuration says; a different option is a mistake, not a wish."""
    if given is not None and given != found:
        raise BadValue(key, given, f"the configuration says {found:g}; leave --{key.replace('_', '-')} out")
    return found


def _trained(raw: dict[str, Any], stock: StockRope) -> int:
    """The length that the model was trained on, where its configuration has been stretched already and where not."""
    text = raw.get("text_config") or raw
    for place in (text, text.get("rope_parameters") or {}, text.get("rope_scaling") or {}):
        found = place.get("original_max_position_embeddings")
        if isinstance(found, int):
            return found
    return stock.max_position_embeddings


def _encoding(pe: str, asked: Asked) -> tuple[Rotary, tuple[int, int]]:
    """The encoding, and the lengths (L, L') in tokens."""
    from models.export_rope import BETA_FAST

    encoding, lengths = _fitted(pe, asked)
    if hasattr(encoding.scaling, "beta_fast") and not any("beta_fast" in text for text in asked.settings):
        return _fitted(pe, replace(asked, settings=(*asked.settings, f"pe.params.beta_fast={BETA_FAST:g}")))
    return encoding, lengths


def _fitted(pe: str, asked: Asked) -> tuple[Rotary, tuple[int, int]]:
    from cli.fitting import fit
    from models.encodings import Rotary

    (one,) = fit([pe], asked)
    if not isinstance(one.encoding, Rotary):
        raise BadValue("pe", pe, "does not rotate: it has no frequencies to export; name a rotary encoding")
    return one.encoding, (one.train_length, one.test_length)


def _described(encoding: Rotary) -> str:
    """The encoding with every parameter of its scaling: what was not asked for is said, too."""
    scaling = encoding.scaling
    values = [(f.name, getattr(scaling, f.name)) for f in fields(scaling)]
    shown = [f"{name} {getattr(value, 'value', value)}" for name, value in values if not isinstance(value, tuple)]
    return f"{encoding.name} ({', '.join([f'base {encoding.base:g}', *shown])})"
