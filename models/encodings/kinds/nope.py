"""NoPE: no position encoding at all; a causal decoder can still count (Kazemnejad et al. 2023, arXiv 2305.19466)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.encodings.base import Encoding


@dataclass(frozen=True)
class NoPE(Encoding):
    """Gives the decoder nothing: the causal mask is all that tells positions apart."""

    source: ClassVar[str] = "Kazemnejad et al. 2023, arXiv 2305.19466"


ENCODING = NoPE
