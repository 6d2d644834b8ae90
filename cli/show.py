"""`posgen show`: a sequence of the benchmark, explained token by token."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.shared.options import Overrides, TaskOption
from posgen.errors import BadValue


def show(
    overrides: Overrides = None,
    task: TaskOption = None,
    modulus: Annotated[
        int | None, typer.Option(help="Tokens are 0 to modulus-1. [default: 7]", show_default=False)
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="N,N,...", help="The seed tokens.")] = "2,0,3,1",
    length: Annotated[int, typer.Option(help="Tokens in all, seed included.")] = 12,
) -> None:
    """Print a sequence with the tokens that each new one depends on (the paper's Figure 2).

    Without options all three tasks are shown for the seed of the figure.

    \b
    posgen show --task cot
    posgen show --task recursive --modulus 17 --prefix 5,11,0,2 --length 20
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
    words = prefix.replace(",", " ").split()
    try:
        tokens = [int(word) for word in words]
    except ValueError:
        raise BadValue("prefix", prefix, "use whole numbers with commas between them") from None
    explanations = []
    with composer() as make:
        for name in requested.tasks:
            config = make(Choice(name), settings)
            explanations.append(render(config.task, explain(config.task, tokens, length)))
    print("\n".join(explanations), end="")
