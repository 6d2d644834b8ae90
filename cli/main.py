"""The entry point: `posgen VERB ...`. Nothing but the standard library is imported before the checks in `main`."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

# mallopt's numbers in <malloc.h>: no block by mmap, nothing given back below 2 GiB, growth by 256 MiB.
_MALLOC = {-4: 0, -1: 2**31 - 1, -2: 2**28}
PACKAGES = ("cli", "conf", "eval", "models", "posgen")
# Characters of an error's line at most.
_LONGEST = 1500
_GONE = "the current folder is gone (deleted or moved); cd to one that exists and run the command again"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 when it did what it says, 2 with one line on stderr for a mistake of the user's, 130
    when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    _keep_freed_memory()
    # A user's own scaling or h, `my_module:MyScaling`, may lie where the command is typed. Last: it hides nothing.
    try:
        sys.path.append(os.getcwd())
    except FileNotFoundError:
        _fail(_GONE)
    hidden = _hidden_package()
    if hidden:
        _fail(hidden)
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    import typer

    from cli.app import root
    from posgen.errors import UserError, os_error_reason, os_error_remedy

    try:
        return root(args=arguments, prog_name="posgen", standalone_mode=False) or 0
    except UserError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print("posgen: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            _fail("cannot write the output (no space left): free some, or write it elsewhere")
        if not _folder_is_there():
            _fail(_GONE)
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise  # not a place that the user chose
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{where}{os_error_reason(error)}; {os_error_remedy(error)}")
    except MemoryError as error:
        _fail(f"{os_error_reason(error)}; {os_error_remedy(error)}")
    except Exception as error:
        # Click's usage errors; Typer brings its own copy of Click or imports it, depending on its version.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()} (see --help)")


def _folder_is_there() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _keep_freed_memory() -> None:
    """Let the C library (glibc) use freed memory again and not give it back to the system: a training step frees what
    the next one asks for, and page faults on fresh memory cost a step at the paper's size as much as its products."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)


def _hidden_package() -> str | None:
    """What to say when another package of the same name stands before one of ours on the import path."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        origin = next((place for place in places if place), None)
        if origin is None or Path(origin).resolve() not in (root / name / "__init__.py", root / name):
            return (
                f"another package named {name} ({origin}) hides posgen's own; "
                "run from another folder or take it off PYTHONPATH"
            )
    return None


def _fail(line: str) -> NoReturn:
    """Print one line, whatever is in it: no character of a user's value moves the cursor or ends the line."""
    # as posgen.errors.printable, which may not be there: another package may hide ours
    words = " ".join(line.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    if len(shown) > _LONGEST:  # some value's fault; what to do stands at the end
        shown = f"{shown[: _LONGEST // 2]} ... {shown[-_LONGEST // 2 :]}"
    print(f"posgen: error: {shown}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":  # python -m cli.main
    main()
