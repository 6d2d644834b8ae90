"""Encodings by name, fitted to a head, a base and lengths given as options: what `posgen encodings` looks at."""

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
class Asked:
    """What the options say; None: PosGen's own value. `settings` are trailing ENCODING.PARAMETER=VALUE."""

    head_dim: int | None = None
    base: float | None = None
    train_length: int | None = None
    test_length: int | None = None
    factor: float | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """An encoding under a training and a test length (tokens). `factor` is its own s; where it has none (`scaled` is
    false), the one that was asked for, or test_length / train_length."""

    name: str
    spec: EncodingSpec
    encoding: Encoding
    base: float
    train_length: int
    test_length: int
    factor: float
    scaled: bool
    weights: dict[str, tuple[int, ...]]


def fit(names: Sequence[str], asked: Asked) -> list[Fitted]:
    """Each named encoding under what was asked. BadValue or UserError, one line, for whatever is wrong with it."""
    from conf.compose import composer

    try:
        with composer() as make:
            sizes = _sizes(asked)
            plain = {name: make(_choice(name), sizes) for name in names}
            settings = _assigned(asked.settings, plain)
            return [_fitted(make, name, config, sizes, settings[name], asked) for name, config in plain.items()]
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


def _sizes(asked: Asked) -> list[str]:
    """The overrides that hold for every encoding."""
    usual = DataSpec()
    if asked.factor is not None:
        require(1.0 <= asked.factor < math.inf, "factor", asked.factor, "use at least 1 (s = test_length/train_length)")
    train = usual.train_length if asked.train_length is None else asked.train_length
    test = asked.test_length
    if test is None:
        stretch = asked.factor or usual.test_length / usual.train_length
        test = usual.test_length if usual.test_length > train else math.ceil(train * stretch)
    # A length counts positions here, as in the paper's section 3: none of them is a BOS.
    sizes = [f"data.train_length={train}", f"data.test_length={test}", "model.bos=false"]
    return sizes if asked.head_dim is None else [*sizes, f"model.head_dim={asked.head_dim}"]


def _assigned(settings: Sequence[str], plain: dict[str, Config]) -> dict[str, list[str]]:
    """Name -> the settings meant for it, as `pe.params.KEY=VALUE`. A setting names an encoding, its scaling or kind;
    `pe.KEY=VALUE`, as the commands that train take it, is meant for all."""
    known = {name: {name, config.pe.name, config.pe.scaling, config.pe.kind} for name, config in plain.items()}
    owners = set().union(*known.values()) - {"none", "rotary"}  # what many have in common names nothing
    found: dict[str, list[str]] = {name: [] for name in plain}
    for text in settings:
        if text.startswith("pe."):
            for own in found.values():
                own.append(text)
            continue
        owner, dot, rest = text.partition("=")[0].rpartition(".")
        if "=" not in text or not dot:
            raise UserError(f"{text}: settings are written ENCODING.PARAMETER=VALUE, such as yarn.beta_fast=32")
        if owner not in owners:
            raise BadValue(f"{owner}.{rest}", text.partition("=")[2], f"{owner} is not shown; {nearest(owner, owners)}")
        for name in plain:
            if owner in known[name]:
                found[name].append(f"pe.params.{text.removeprefix(f'{owner}.')}")
    return found


def _fitted(
    make: Callable[[Choice, Sequence[str]], Config],
    name: str,
    plain: Config,
    sizes: Sequence[str],
    settings: Sequence[str],
    asked: Asked,
) -> Fitted:
    from conf.overrides import read
    from models.encodings import build
    from models.encodings.build import parameter_names

    params = {*plain.pe.params, *parameter_names(plain.pe.kind, plain.pe.scaling)}
    given = list(settings)
    if asked.factor is not None and "factor" in params:
        given.append(f"pe.params.factor={asked.factor}")
    if asked.base is not None:
        given.append(f"pe.params.base={asked.base}" if "base" in params else f"pe.base={asked.base}")
    config = make(_choice(name), [*sizes, *read(given).overrides]) if given else plain
    try:
        encoding = build(config.pe, config.model.head_dim)
    except BadValue as error:
        raise error.under("pe") from error
    data = config.data
    own = getattr(getattr(encoding, "scaling", None), "factor", None)
    return Fitted(
        name=name,
        spec=config.pe,
        encoding=encoding,
        base=float(getattr(encoding, "base", config.pe.base)),
        train_length=data.train_length,
        test_length=data.test_length,
        factor=float(own or asked.factor or data.test_length / data.train_length),
        scaled=own is not None,
        weights=encoding.shapes(config.model),
    )
