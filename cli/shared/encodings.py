"""Encodings by name, fitted to a head size, a base and lengths given as options, for `posgen encodings`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posgen.errors import BadValue, UserError, nearest, require
from posgen.spec import DataSpec

if TYPE_CHECKING:
    from conf.compose import Choice
    from conf.schema import Config
    from models.encodings import Encoding
    from models.spec import EncodingSpec

_TYPED = {
    "data.train_length": "--train-length",
    "data.test_length": "--test-length",
    "model.head_dim": "--head-dim",
    "pe.base": "--base",
}


@dataclass(frozen=True)
class EncodingOptions:
    """Options of the command line, None for PosGen's default. `settings` are trailing ENCODING.PARAMETER=VALUE."""

    head_dim: int | None = None
    base: float | None = None
    train_length: int | None = None
    test_length: int | None = None
    factor: float | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """An encoding under a training and a test length (tokens). `factor` is its scaling's s; without one (`scaled` is
    false) that of the options, or test_length / train_length."""

    name: str
    spec: EncodingSpec
    encoding: Encoding
    base: float
    train_length: int
    test_length: int
    factor: float
    scaled: bool
    weights: dict[str, tuple[int, ...]]


def fit(names: Sequence[str], options: EncodingOptions) -> list[Fitted]:
    """Each named encoding under the options. BadValue or UserError, one line, for whatever is wrong with it."""
    from conf.compose import composer

    try:
        with composer() as make:
            sizes = _sizes(options)
            plain = {name: make(_choice(name), sizes) for name in names}
            settings = _assigned(options.settings, plain)
            return [_fitted(make, name, config, sizes, settings[name], options) for name, config in plain.items()]
    except BadValue as error:
        if error.key not in _TYPED:
            raise
        # The user typed an option, not a key of the configuration.
        raise BadValue(
            _TYPED[error.key], error.value, error.remedy.replace("train_length", "--train-length")
        ) from error


def _choice(name: str) -> Choice:
    from conf.compose import Choice

    return Choice(pe=name, protocol="paper", profile="paper")


def _sizes(options: EncodingOptions) -> list[str]:
    """The overrides that hold for every encoding."""
    default = DataSpec()
    if options.factor is not None:
        remedy = "use at least 1 (s = test_length/train_length)"
        require(1.0 <= options.factor < math.inf, "factor", options.factor, remedy)
    train = default.train_length if options.train_length is None else options.train_length
    test = options.test_length
    if test is None:
        stretch = options.factor or default.test_length / default.train_length
        test = default.test_length if default.test_length > train else math.ceil(train * stretch)
    # A length counts positions here, as in the paper's section 3: none of them is a BOS.
    sizes = [f"data.train_length={train}", f"data.test_length={test}", "model.bos=false"]
    return sizes if options.head_dim is None else [*sizes, f"model.head_dim={options.head_dim}"]


def _assigned(settings: Sequence[str], plain: dict[str, Config]) -> dict[str, list[str]]:
    """Name -> the settings meant for it, as `pe.params.KEY=VALUE`. A setting names an encoding, its scaling or kind;
    `pe.KEY=VALUE`, as the commands that train take it, is meant for all."""
    known = {name: {name, config.pe.name, config.pe.scaling, config.pe.kind} for name, config in plain.items()}
    owners = set().union(*known.values()) - {"none", "rotary"}  # what many have in common names nothing
    assigned: dict[str, list[str]] = {name: [] for name in plain}
    for text in settings:
        if text.startswith("pe."):
            for texts in assigned.values():
                texts.append(text)
            continue
        owner, dot, rest = text.partition("=")[0].rpartition(".")
        if "=" not in text or not dot:
            raise UserError(f"{text}: settings are written ENCODING.PARAMETER=VALUE, such as yarn.beta_fast=32")
        if owner not in owners:
            raise BadValue(f"{owner}.{rest}", text.partition("=")[2], f"{owner} is not shown; {nearest(owner, owners)}")
        for name in plain:
            if owner in known[name]:
                assigned[name].append(f"pe.params.{text.removeprefix(f'{owner}.')}")
    return assigned


def _fitted(
    make: Callable[[Choice, Sequence[str]], Config],
    name: str,
    plain: Config,
    sizes: Sequence[str],
    settings: Sequence[str],
    options: EncodingOptions,
) -> Fitted:
    from conf.overrides import read
    from models.encodings import build
    from models.encodings.build import parameter_names

    params = {*plain.pe.params, *parameter_names(plain.pe.kind, plain.pe.scaling)}
    changes = list(settings)
    if options.factor is not None and "factor" in params:
        changes.append(f"pe.params.factor={options.factor}")
    if options.base is not None:
        changes.append(f"pe.params.base={options.base}" if "base" in params else f"pe.base={options.base}")
    config = make(_choice(name), [*sizes, *read(changes).overrides]) if changes else plain
    try:
        encoding = build(config.pe, config.model.head_dim)
    except BadValue as error:
        raise error.under("pe") from error
    data = config.data
    factor = getattr(getattr(encoding, "scaling", None), "factor", None)
    return Fitted(
        name=name,
        spec=config.pe,
        encoding=encoding,
        base=float(getattr(encoding, "base", config.pe.base)),
        train_length=data.train_length,
        test_length=data.test_length,
        factor=float(factor or options.factor or data.test_length / data.train_length),
        scaled=factor is not None,
        weights=encoding.all_shapes(config.model),
    )
