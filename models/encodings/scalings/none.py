"""Plain RoPE: no scaling (Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.encodings.scalings.base import Scaling


@dataclass(frozen=True)
class NoScaling(Scaling):
    """The base frequencies as they are."""

    source: ClassVar[str] = "Su et al. 2021, arXiv 2104.09864"
    stretches: ClassVar[bool] = False
    fixed: ClassVar[bool] = True


SCALING = NoScaling
