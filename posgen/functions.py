"""h: computes a new token from the tokens that it depends on. `sum_mod` is the paper's; users may bring their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import numpy as np

from posgen.errors import BadValue, nearest, told
from posgen.own_code import checksum

Function = Callable[[np.ndarray, int], np.ndarray]


def sum_mod(args: np.ndarray, modulus: int) -> np.ndarray:
    """The sum of the arguments mod m (paper, section 4.1). args int64 [N, far + near] -> int64 [N]."""
    sums: np.ndarray = args.sum(axis=1)
    return sums % modulus


BUILT_IN: dict[str, Function] = {"sum_mod": sum_mod}


def resolve(name: str) -> Function:
    """The function called `name`: a built-in one, or a user's own as `package.module:function`.

    It is called as h(args, modulus) with args int64 [N, far + near], far tokens first, each run in rising order of
    position, and returns N integers in 0..modulus-1. Rows are independent sequences and may come in blocks of any
    size. A user's function is checked at every call. Raises `BadValue("h", ...)` with what is wrong.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise BadValue("h", name, f"{nearest(name, BUILT_IN)}, or name your own function as package.module:function")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        remedy = f"there is no module {error.name}; put the folder that holds it on PYTHONPATH"
        raise BadValue("h", name, remedy) from error
    except AttributeError as error:
        raise BadValue("h", name, f"{told(error)}; name a function that the module defines") from error
    except BaseException as error:  # a user's module may raise anything, or exit
        raise BadValue("h", name, f"importing {module_name} raised {told(error)}; fix the module") from error
    if not callable(function):
        raise BadValue("h", name, f"{attribute} is not a function; name one that takes (args, modulus)")
    return _checked(name, function)


def own_code(name: str) -> str:
    """12 hex digits of the sha256 of the file that holds the user's own function; empty for a built-in one.

    Raises `BadValue("h", ...)` as `resolve` does.
    """
    resolve(name)
    if name in BUILT_IN:
        return ""
    file = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    return checksum(file) if file else ""


def _checked(name: str, function: Callable[..., object]) -> Function:
    """The same function with its results checked: a mistake ends in one line instead of in wrong tokens."""

    def h(args: np.ndarray, modulus: int) -> np.ndarray:
        rows = len(args)
        try:
            tokens = np.asarray(function(args, modulus))
        except BaseException as error:
            raise BadValue(
                "h", name, f"it raised {told(error)}; it is called as h(args [N, far+near], modulus)"
            ) from error
        if tokens.shape != (rows,):
            raise BadValue("h", name, f"it returned shape {tokens.shape}; return one token a row, shape ({rows},)")
        if tokens.dtype.kind not in "iu":
            raise BadValue("h", name, f"it returned {tokens.dtype}; return integers")
        if rows and not (tokens.min() >= 0 and tokens.max() < modulus):
            returned = f"{tokens.min()}..{tokens.max()}"
            raise BadValue("h", name, f"it returned tokens in {returned}; return tokens in 0..{modulus - 1}")
        return tokens

    return h
