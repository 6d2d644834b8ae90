"""Losses of each token as measured: a float32 .npy file for each document and pass, and a sealed JSON beside it.

They are working files, from which records are made: every length, weighting and paired difference comes from them
without another pass of the model. `key` names model, encoding and the kind of pass, and is the folder's name.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eval.store import checked
from eval.store.files import write_atomically
from eval.store.kinds import Maker
from posgen.errors import UserError, os_error_reason, told
from posgen.plain import digest

FOLDER = Path("llm") / "perplexity"
"""Below the folder of runs."""
_REMEDY = "delete it, and the document is measured again"


@dataclass(frozen=True)
class Losses:
    """NLL in nats by text token of a document, float32 [T], NaN where none was computed; `windows` of its windows are
    done. `seconds` of the model's passes; `maker`: what made the last of them."""

    nll: np.ndarray
    windows: int
    seconds: float
    maker: Maker


class _Described(msgspec.Struct):
    sha256: str
    windows: int
    seconds: float
    maker: Maker


class LossFiles:
    """The losses of one kind of pass (`described`) below a folder of runs."""

    def __init__(self, runs: Path, described: dict[str, Any]) -> None:
        self.described = described
        self.folder = runs / FOLDER / digest(described)

    def read(self, document_sha: str) -> Losses | None:
        """Of a document; None where it was not begun. UserError when a file is damaged."""
        array, sealed = self._files(document_sha)
        node = checked.read(sealed, _Described, _REMEDY)
        if node is None:
            return None
        told_by = msgspec.convert(node, _Described)
        try:
            content = array.read_bytes()
        except OSError as error:
            raise UserError(f"{array} cannot be read ({os_error_reason(error)}); {_delete(sealed)}") from None
        if hashlib.sha256(content).hexdigest() != told_by.sha256:
            raise UserError(f"{array} does not have its checksum: it was damaged, or edited; {_delete(sealed)}")
        try:
            nll = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{array} is damaged ({told(error)}); {_delete(sealed)}") from None
        return Losses(nll, told_by.windows, told_by.seconds, told_by.maker)

    def write(self, document_sha: str, losses: Losses) -> None:
        """Replaces what is there. UserError when it cannot be written."""
        if not (self.folder / "pass.json").exists():
            checked.write(self.folder / "pass.json", self.described)
        out = io.BytesIO()
        np.save(out, losses.nll.astype("<f4"), allow_pickle=False)
        content = out.getvalue()
        array, sealed = self._files(document_sha)
        sealed.unlink(missing_ok=True)  # killed from here on, the document counts as not begun
        write_atomically(array, content)
        node = {"sha256": hashlib.sha256(content).hexdigest(), "windows": losses.windows, "seconds": losses.seconds}
        checked.write(sealed, {**node, "maker": msgspec.to_builtins(losses.maker)})

    def _files(self, document_sha: str) -> tuple[Path, Path]:
        return self.folder / f"{document_sha}.npy", self.folder / f"{document_sha}.json"


def _delete(sealed: Path) -> str:
    return f"delete {sealed}, and the document is measured again"
