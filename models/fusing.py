"""torch.compile as this project uses it: one compiled form of a function for all populations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., object])


@functools.cache
def fused(function: Function) -> Function:
    """The function compiled. Populations of equal shapes share what was compiled; every other shape and structure
    compiles anew, and a sweep has many: beyond the limit torch would go on uncompiled without a word."""
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    # A dropout mask is a long expression of nothing but its place. Past 30 operations the compiler would write it to
    # memory, four bytes an element, rather than compute it where it is used.
    return cast(Function, torch.compile(function, dynamic=False, options={"realize_opcount_threshold": 1000}))
