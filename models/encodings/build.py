"""From a specification (conf/pe) to an encoding: finds its kind and scaling by name and checks their parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from models.encodings import kinds, scalings
from models.encodings.base import Encoding
from models.encodings.logit_scale import LogitScaling
from models.encodings.rotary import Rotary
from models.encodings.scalings.base import Scaling
from models.spec import EncodingSpec, LogitScale
from posgen.errors import BadValue, nearest, require, told
from posgen.own_code import checksum, is_own

Kind = TypeVar("Kind", Scaling, Encoding)

ROTARY = "rotary"
# Fields that the specification itself holds: what is left are a kind's own parameters.
_GIVEN = ("name", "head_dim", "base", "scaling", "resonance", "logit_scaling")


def scaling_names() -> list[str]:
    """Names that `scaling` may take: the files of models/encodings/scalings."""
    return sorted(m.name for m in pkgutil.iter_modules(scalings.__path__) if m.name != "base")


def kind_names() -> list[str]:
    """Names that `kind` may take: `rotary` and the files of models/encodings/kinds."""
    return sorted([ROTARY, *(m.name for m in pkgutil.iter_modules(kinds.__path__))])


def parameter_names(kind: str, scaling: str) -> list[str]:
    """Keys that `params` may have for this kind and scaling."""
    classes: list[type[Encoding] | type[Scaling]] = [_kind_class(kind)]
    if issubclass(_kind_class(kind), Rotary):
        classes.append(scaling_class(scaling))
    return sorted({f.name for c in classes for f in dataclasses.fields(c)} - set(_GIVEN))


def own_class(name: str) -> type[Encoding] | type[Scaling]:
    """A user's own class, `package.module:Class` or `path/to/file.py:Class`: an encoding or a scaling.

    Raises BadValue when it cannot be imported or is neither.
    """
    imported = _import("pe", name)
    if not (isinstance(imported, type) and issubclass(imported, (Encoding, Scaling))):
        raise BadValue("pe", name, f"is a subclass of neither {_path(Encoding)} nor {_path(Scaling)}")
    return imported


def stretches(spec: EncodingSpec) -> bool:
    """Whether the encoding is plain RoPE under a scaling, or with remapped distances, for sequences longer than those
    trained on."""
    if spec.kind == ROTARY:
        return scaling_class(spec.scaling).stretches
    return _kind_class(spec.kind).stretches


def unstretched(spec: EncodingSpec) -> EncodingSpec:
    """The plain form of an encoding that stretches: what it is within the training length."""
    scaling, params = "none", dict[str, Any]()
    if spec.kind != ROTARY and not scaling_class(spec.scaling).stretches:  # distances remapped on top of p-RoPE, say
        names = {f.name for f in dataclasses.fields(scaling_class(spec.scaling))}
        scaling, params = spec.scaling, {key: value for key, value in spec.params.items() if key in names}
    name = ("resonance_" if spec.resonance else "") + ("rope" if scaling == "none" else scaling)
    code = spec.code if ":" in scaling else ""
    return dataclasses.replace(spec, name=name, kind=ROTARY, scaling=scaling, params=params, code=code, trained_as="")


def own_code(spec: EncodingSpec) -> str:
    """12 hex digits of the sha256 of the files that hold the user's own classes in a specification."""
    classes: list[type] = [_kind_class(spec.kind)] if ":" in spec.kind else []
    classes += [scaling_class(spec.scaling)] if ":" in spec.scaling else []
    return checksum(*(inspect.getfile(user_class) for user_class in classes))


def _check_code(spec: EncodingSpec) -> None:
    """Raise BadValue where the user's own files are not those that the specification was made with. Files that are
    named by their path are compared before they run."""
    remedy = "the file of this encoding was edited since; restore it, or train again with the new one"
    places = [name.rpartition(":")[0] for name in (spec.kind, spec.scaling) if is_own(name)]
    if all(place.endswith(".py") and Path(place).is_file() for place in places):
        require(spec.code == checksum(*places), "code", spec.code, remedy)
    else:
        require(spec.code == own_code(spec), "code", spec.code, remedy)


def build(spec: EncodingSpec, head_dim: int) -> Encoding:
    """The encoding that a specification names, for heads of dimension `head_dim`.

    Raises BadValue when the kind, the scaling or one of its parameters is unknown or out of range.
    """
    if spec.code:
        _check_code(spec)
    kind = _kind_class(spec.kind)
    if not issubclass(kind, Rotary):
        require(not spec.resonance, "resonance", spec.resonance, f"{spec.kind} does not rotate: use false")
        require(spec.scaling == "none", "scaling", spec.scaling, f"{spec.kind} does not rotate: use none")
        given = {"name": spec.name, "head_dim": head_dim, "logit_scaling": _logit_scaling(spec)}
        return _construct(kind, spec.params, **given)
    kind_keys = {f.name for f in dataclasses.fields(kind)} - set(_GIVEN)
    scaling_params = {key: value for key, value in spec.params.items() if key not in kind_keys}
    return _construct(
        kind,
        {key: value for key, value in spec.params.items() if key in kind_keys},
        name=spec.name,
        head_dim=head_dim,
        base=float(spec.base),
        scaling=_construct(scaling_class(spec.scaling), scaling_params),
        resonance=spec.resonance,
        logit_scaling=_logit_scaling(spec),
    )


def _logit_scaling(spec: EncodingSpec) -> LogitScaling | None:
    if spec.logit_scale is LogitScale.none:
        return None
    scaling = LogitScaling(spec.logit_scale, spec.logit_length, spec.logit_s)
    scaling.start()  # says now what it lacks
    return scaling


def build_rotary(spec: EncodingSpec, head_dim: int) -> Rotary:
    """`build` where only an encoding with frequencies will do; BadValue for any other."""
    encoding = build(spec, head_dim)
    if not isinstance(encoding, Rotary):
        raise BadValue("pe", spec.name, "does not rotate: it has no frequencies; name a rotary encoding")
    return encoding


def check_rotation(encoding: Encoding, reader: str) -> None:
    """Raise BadValue unless a table of angles and one attention factor say all that the encoding does, which is what
    `reader` (a word or two) can take."""
    rotates = vars(type(encoding)).get("only_rotates", False)
    remedy = f"does more than rotate, which {reader} cannot express; name a rotary encoding without it"
    require(rotates, "pe", encoding.name, remedy)
    weighted = isinstance(encoding, Rotary) and encoding.scaling.weights(encoding.rotary_dim, encoding.base) is not None
    require(not weighted, "pe", encoding.name, f"weights its features, which {reader} cannot express; use others")
    scaling = encoding.logit_scaling
    remedy = f"scales the attention logits with the length, which {reader} cannot express; use none"
    require(scaling is None, "logit_scale", scaling.kind.value if scaling else None, remedy)


def _kind_class(name: str) -> type[Encoding]:
    return Rotary if name == ROTARY else _named("kind", name, kind_names(), Encoding)


def scaling_class(name: str) -> type[Scaling]:
    return _named("scaling", name, scaling_names(), Scaling)


def _named(key: str, name: str, known: list[str], base: type[Kind]) -> type[Kind]:
    """The class in the file of that name below models/encodings, or the user's own."""
    if ":" in name:
        return _imported(key, name, base)
    if name not in known:
        raise BadValue(key, name, nearest(name, known) + ", or package.module:Class of your own")
    package, attribute = (kinds, "ENCODING") if key == "kind" else (scalings, "SCALING")
    named: type[Kind] = getattr(importlib.import_module(f"{package.__name__}.{name}"), attribute)
    return named


def _imported(key: str, name: str, base: type[Kind]) -> type[Kind]:
    imported = _import(key, name)
    if not (isinstance(imported, type) and issubclass(imported, base)):
        raise BadValue(key, name, f"is not a subclass of {_path(base)}")
    return imported


def _path(base: type) -> str:
    return f"{base.__module__}.{base.__name__}"


def _import(key: str, name: str) -> Any:
    place, _, attribute = name.rpartition(":")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        return getattr(module, attribute)
    except BaseException as error:  # a user's file may raise anything, or exit
        remedy = "use package.module:Class or path/to/file.py:Class"
        raise BadValue(key, name, f"cannot be imported ({told(error)}); {remedy}") from error


def _from_file(path: Path) -> types.ModuleType:
    """The module in a file, executed once: classes of two imports would not be equal."""
    name = f"own_encoding_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it runs
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _construct(kind: type[Kind], params: dict[str, Any], **given: Any) -> Kind:
    types_of = typing.get_type_hints(kind)
    known = {f.name: types_of[f.name] for f in dataclasses.fields(kind) if f.name not in given}
    values = {}
    for key, value in params.items():
        if key not in known:
            listing = nearest(key, known) if known else "this encoding takes no parameters"
            raise BadValue(f"params.{key}", value, listing)
        values[key] = _coerce(f"params.{key}", value, known[key])
    try:
        return kind(**values, **given)
    except BadValue as error:
        raise (error if error.key in given else error.under("params")) from error
    except BaseException as error:
        raise BadValue("name", given.get("name", kind.__name__), f"its code fails ({told(error)}); fix it") from error


def _coerce(key: str, value: Any, wanted: Any) -> Any:
    """YAML gives 2 where a float is meant and `index` where an Enum is; anything else of a wrong type is refused."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        if value is None:
            return None
        wanted = next(t for t in typing.get_args(wanted) if t is not type(None))
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        if isinstance(value, wanted):
            return value
        if value not in [m.value for m in wanted]:
            raise BadValue(key, value, nearest(str(value), [m.value for m in wanted]))
        return wanted(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and number:
        return float(value)
    if wanted is int and number and float(value).is_integer():
        return int(value)
    if typing.get_origin(wanted) is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(key, item, typing.get_args(wanted)[0]) for item in value)
    if isinstance(wanted, type) and isinstance(value, wanted):
        return value
    kind = {int: "a whole number", float: "a number"}.get(wanted, getattr(wanted, "__name__", wanted))
    if typing.get_origin(wanted) is tuple:
        kind = "a list, such as [1,2]" if typing.get_args(wanted)[0] in (int, float) else "a list, such as [a,b]"
    raise BadValue(key, value, f"must be {kind}")
