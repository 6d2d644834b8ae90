"""Published sizes of language models and the devices that `posgen llm plan` knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from conf import files
from models.lm.sizes import Sizes
from posgen.errors import BadValue, UserError, nearest, require
from posgen.plain import restore

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Device:
    """`gigabytes`: memory in 10^9 bytes, None for this machine's; `teraflops`: the rate that is assumed, 10^12
    operations a second."""

    title: str
    gigabytes: float | None
    teraflops: float

    def __post_init__(self) -> None:
        require(self.gigabytes is None or self.gigabytes > 0, "gigabytes", self.gigabytes, "use a number above 0")
        require(0 < self.teraflops < 1e6, "teraflops", self.teraflops, "use a number above 0 and below 1000000")


def published_sizes() -> dict[str, Sizes]:
    """conf/llm/sizes.yaml."""
    return _read("sizes", Sizes)


def devices() -> dict[str, Device]:
    """conf/llm/devices.yaml."""
    return _read("devices", Device)


def device(name: str) -> Device:
    """The device of that name. BadValue for one that is unknown."""
    known = devices()
    if name not in known:
        raise BadValue("gpu", name, nearest(name, known))
    return known[name]


def _read(name: str, kind: type[Kind]) -> dict[str, Kind]:
    file = files.FOLDER / "llm" / f"{name}.yaml"
    try:
        return {key: restore(kind, value, key) for key, value in files.load(file).items()}
    except TypeError as error:
        raise UserError(f"{file}: {error}; restore the file") from None
