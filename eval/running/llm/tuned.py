"""The folder of a tuned model: whose it is, and what is written there when the tuning has ended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from eval.running.llm.states import FOLDER, States
from eval.store import checked
from eval.store.claims import writing
from eval.store.files import write_atomically
from eval.store.records import LOCK
from models.lm.loading import NOTE
from posgen.errors import BadValue, UserError, os_error_reason, os_error_remedy, shortened
from posgen.plain import plain

REQUEST = "tuning.json"
"""What was asked and, at the end, what came of it: recipe, encoding, texts, losses."""


def refuse_foreign(out: Path) -> None:
    """BadValue when the folder holds something else than a tuning."""
    if out.exists() and not out.is_dir():
        raise BadValue("out", out, "is a file; name a folder")
    if out.is_dir() and not (out / REQUEST).is_file() and any(path.name != FOLDER for path in out.iterdir()):
        raise BadValue("out", out, "is there and holds something else; name another folder")


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The folder for this process alone. At the end what only the tuning needs is removed: all, where none began."""
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = os_error_reason(error)
        raise BadValue("out", out, f"cannot be made ({reason}); {os_error_remedy(error, '--out')}") from None
    try:
        with writing(out / FOLDER / LOCK, 0.0):
            yield
    except Timeout:
        raise BadValue("out", out, "is being tuned by another process; wait for it, or name another") from None
    except BaseException:
        _tidy(out)
        raise
    _tidy(out)


def _tidy(out: Path) -> None:
    if (out / NOTE).is_file():
        shutil.rmtree(out / FOLDER, ignore_errors=True)
    elif not (out / REQUEST).is_file():
        shutil.rmtree(out, ignore_errors=True)


def claim_folder(out: Path, asked: dict[str, Any]) -> bool:
    """Let the folder be that of this tuning; whether it is tuned already. BadValue when it is another tuning's."""
    there = checked.read(out / REQUEST, dict[str, object], "delete its folder to tune again")
    if there is None or not ((out / NOTE).is_file() or States(out).any()):
        checked.write(out / REQUEST, {"asked": asked})
        return False
    before = dict(there.get("asked") or {})
    different = _difference(before, plain(asked))
    if different is not None:
        raise BadValue("out", out, f"is there from another tuning ({different}); name another folder")
    return (out / NOTE).is_file()  # written last


def _difference(before: Any, now: Any, key: str = "") -> str | None:
    """The first thing in which two requests differ: `recipe.lr was 2e-05, now 0.001`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            if found := _difference(before.get(name), now.get(name), f"{key}.{name}".lstrip(".")):
                return found
        return None
    return None if before == now else f"{key} was {shortened(before)}, now {shortened(now)}"


def describe(out: Path, asked: dict[str, Any], result: dict[str, Any]) -> None:
    """Write what came of the tuning beside what was asked."""
    checked.write(out / REQUEST, {"asked": asked, **result})


def write_result(out: Path, write: Callable[[Path], None], note: dict[str, Any]) -> None:
    """Let `write` fill a folder, move its files to `out` one by one, and last the note that says that all are there.
    UserError when they cannot be written."""
    beside = out / FOLDER / "result"
    try:
        shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
        beside.mkdir(parents=True)
        write(beside)
        for path in sorted(beside.iterdir()):
            os.replace(path, out / path.name)
        write_atomically(out / NOTE, (json.dumps(note, indent=1) + "\n").encode())
    except (OSError, RuntimeError) as error:  # torch and safetensors raise their own for a full disk
        if isinstance(error, UserError):
            raise
        reason = os_error_reason(error)
        raise UserError(f"cannot write {out} ({reason}): {os_error_remedy(error, '--out')}") from None
