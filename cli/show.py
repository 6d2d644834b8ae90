"""`posgen show`: a sequence of the benchmark, explained token by token."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.shared.options import Overrides, TaskOption
from posgen.errors import BadValue

FIGURE_2 = (2, 0, 3, 1)
"""The seed of the paper's figure."""


def show(
    overrides: Overrides = None,
    task: TaskOption = None,
    modulus: Annotated[
        int | None, typer.Option(help="Tokens are 0 to modulus-1. [default: 7]", show_default=False)
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="The seed tokens. [default: 2,0,3,1,...]", show_default=False)
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="Tokens in all, seed included. [default: 12]", show_default=False)
    ] = None,
) -> None:
    """Print a sequence with the tokens that each answer depends on (the paper's Figure 2).

    Without options the paper's three tasks are shown for the seed of the figure. With hidden answers (*_hidden, *_copy)
    all tokens are random and the answers are no tokens; interleaved ones (*_interleaved) are every second token.

    \b
    posgen show --task cot
    posgen show --task recursive --modulus 17 --prefix 5,11,0,2 --length 20
    posgen show --task semi_recursive_hidden
    posgen show task.near=2 --prefix 2,0,3
    """
    from cli.shared.request import request
    from conf.compose import Choice, composer
    from posgen.show import explain, render

    trailing = [*(overrides or ()), *([] if modulus is None else [f"task.modulus={modulus}"])]
    requested = request(trailing, takes=("task",), roots=("task",), task=task, default_profile="quick")
    settings = requested.overrides
    if not any(text.startswith("task.modulus=") for text in settings):
        settings = (*settings, "task.modulus=7")
    try:
        given = None if prefix is None else [int(word) for word in prefix.replace(",", " ").split()]
    except ValueError:
        raise BadValue("prefix", prefix, "use whole numbers with commas between them") from None
    explanations = []
    with composer() as make:
        for name in requested.tasks:
            config = make(Choice(name), settings)
            seed = config.task.prefix_length
            repeated = [FIGURE_2[i % len(FIGURE_2)] % config.task.modulus for i in range(seed)]
            rows = explain(config.task, repeated if given is None else given, length or max(12, 2 * seed + 4))
            explanations.append(render(config.task, rows))
    print("\n".join(explanations), end="")
