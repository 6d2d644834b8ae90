"""`posgen llm finetune`: tune a language model under a position encoding."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.shared.options import DeviceOption, ThreadsOption
from cli.shared.records import RESULTS
from posgen.places import TUNING

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of the recipe (steps=50, length=4096, lr=1e-4, ...), of the encoding (rope.beta_fast=16) and "
        "tracker=wandb.",
        show_default=False,
    ),
]


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's folder, or its name on the hub.")],
    settings: Settings = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts", metavar="PATH", help="A .txt, .jsonl, .parquet or .arrow file, or a folder.", show_default=False
        ),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            "--leave-out", metavar="NAME[,NAME...]", help="Files to keep for tests, without suffix.", show_default=False
        ),
    ] = None,
    text_field: Annotated[
        str | None,
        typer.Option(
            "--text-field", metavar="NAME", help="Column of texts or token ids. [default: guessed]", show_default=False
        ),
    ] = None,
    rope: Annotated[
        str, typer.Option("--rope", metavar="NAME", help="Position encoding: yarn, resonance_yarn, pi, ntk, none, ...")
    ] = "yarn",
    factor: Annotated[
        float | None,
        typer.Option("--factor", metavar="X", help="Scaling factor s. [default: 2; none: 1]", show_default=False),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="short (100 steps of 2,048 tokens), extended (100 of 4 x 16,384) or paper (Appendix C.2).",
        ),
    ] = "short",
    lora: Annotated[bool, typer.Option("--lora", help="Train a LoRA adapter instead of all weights.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder of the tuned model or adapter.", show_default=False),
    ] = None,
    records: Annotated[
        Path, typer.Option("--records", metavar="FILE", help="Where the training's record is added.")
    ] = RESULTS / TUNING,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    save_seconds: Annotated[
        float, typer.Option("--save-seconds", metavar="X", help="Seconds between saved states.")
    ] = 300.0,
) -> None:
    """Tune a language model under a position encoding, all weights or a LoRA adapter.

    Weights stay float32, products are bf16. The same recipe, texts and seed give the same batches under every encoding.
    Ctrl-C saves; the same command resumes, bit for bit, also after a kill. Several GPUs: accelerate launch FILE, with
    the path of this command as FILE and its arguments after it. `posgen llm plan` says beforehand what fits.

    \b
    posgen llm finetune my-model --texts my-texts --rope yarn --factor 2 --out results/models/my-yarn
    posgen llm finetune my-model --texts my-texts --rope resonance_yarn --lora --out results/models/my-adapter
    posgen llm finetune my-model --texts my-texts --recipe paper --factor 8 --device cuda --out results/models/long
    """
    from cli.shared.output import tell_slow_bf16
    from conf.finetuning import recipe as named
    from eval.running.llm.adaptation import Tuning
    from eval.running.llm.finetuning import finetune as run
    from posgen.errors import BadValue, require

    if texts is None or out is None:
        missing = "texts" if texts is None else "out"
        raise BadValue(missing, "", f"give it: --{missing} PATH")
    require(save_seconds > 0, "save-seconds", save_seconds, "use seconds above 0")
    of_recipe, params, tracker = _divided(settings or [])
    tuning = Tuning(
        model=model,
        texts=texts,
        recipe=named(recipe, of_recipe),
        rope=rope,
        factor=factor if factor is not None else (1.0 if rope in ("none", "resonance") else 2.0),
        out=out,
        records=records,
        params=params,
        lora=lora,
        leave_out=tuple(_words("leave-out", leave_out)),
        text_field=text_field,
        device=device or "cpu",
        threads=_count(threads),
        tracker=tracker,
        save_seconds=save_seconds,
    )
    tell_slow_bf16(tuning.recipe.precision, device, "precision=fp32")
    ended = run(tuning, lambda line: typer.echo(line))
    if ended.status == "there":
        typer.echo(f"{out} is tuned already; delete it to tune again")
        return
    resumed = f", resumed after step {ended.resumed}" if ended.resumed else ""
    if ended.status == "interrupted":
        done = f"{len(ended.losses)} of {tuning.recipe.steps} steps"
        print(f"posgen: interrupted after {done}; the same command resumes", file=sys.stderr)
        raise typer.Exit(128 + (ended.signal or 2))
    if ended.record is None:
        return  # not the first of several processes
    losses = ended.losses
    typer.echo(
        f"wrote {out}: {tuning.recipe.label}{resumed}; loss {losses[0]:.4f} at the first step, {losses[-1]:.4f} at the "
        f"last, {ended.seconds / len(losses):.1f} s a step; record in {records}"
    )


def _divided(settings: list[str]) -> tuple[list[str], dict[str, Any], Any]:
    """(settings of the recipe, parameters of the encoding, the tracker's)."""
    from conf.overrides import parse, read
    from posgen.errors import UserError

    recipe, params, tracking = [], {}, []
    for argument in settings:
        key = argument.partition("=")[0]
        if key.startswith("rope."):
            params[key.removeprefix("rope.")] = parse(argument).value()
        elif key == "tracker" or key.startswith("tracker."):
            tracking.append(argument)
        elif "=" not in argument:
            raise UserError(f"{argument}: trailing arguments are written KEY=VALUE, such as steps=50")
        else:
            recipe.append(argument)
    return recipe, params, _tracker(list(read(tracking).overrides))


def _tracker(overrides: list[str]) -> Any:
    from conf.compose import Choice, compose

    chosen = any(each.partition("=")[0] == "tracker" for each in overrides)
    return compose(Choice(), overrides if chosen else ["tracker=none", *overrides]).tracker


def _words(key: str, text: str | None) -> list[str]:
    from conf.overrides import words

    return words(key, text) if text is not None else []


def _count(text: str | None) -> int | None:
    from posgen.errors import BadValue

    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadValue("threads", text, "use a whole number") from None
