"""torch.compile as this project uses it: one compiled form of a function for all populations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., object])


@functools.cache
def fused(function: Function) -> Function:
    """The function, compiled. Populations of equal shapes share what was compiled; other shapes and structures compile
    anew."""
    # A sweep has many shapes. Beyond its default limit of 8 torch would go on uncompiled, with a line in its log.
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    # A dropout mask is a long expression that reads no memory. By default the compiler writes what takes more than 30
    # operations to memory, four bytes per element, instead of computing it where it is used.
    return cast(Function, torch.compile(function, dynamic=False, options={"realize_opcount_threshold": 1000}))
