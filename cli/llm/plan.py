"""`posgen llm plan`: memory and time of fine-tuning and of measuring perplexity, by arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eval.running.llm.planning import Plan


def plan(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A folder with a config.json, or a published size such as llama2-7b.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", metavar="N", help="Tokens. [default: the recipe's]", show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", help="Sequences a step. [default: the recipe's]", show_default=False),
    ] = None,
    micro_batch: Annotated[int, typer.Option("--micro-batch", metavar="N", help="Sequences at once on a device.")] = 1,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="[default: the recipe's]", show_default=False)
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", metavar="NAME", help="paper or short.")] = "paper",
    lora: Annotated[
        bool, typer.Option("--lora", help="A LoRA adapter on bf16 weights instead of all weights.")
    ] = False,
    gpu: Annotated[
        str, typer.Option("--gpu", metavar="NAME", help="h100, h200, a100, a100-40, rtx4090, l4 or cpu.")
    ] = "h100",
    teraflops: Annotated[
        float | None,
        typer.Option("--teraflops", metavar="X", help="Assumed rate, 10^12 operations a second.", show_default=False),
    ] = None,
    documents: Annotated[int, typer.Option("--documents", metavar="N", help="Of a perplexity measurement.")] = 50,
) -> None:
    """Say what fine-tuning a model at a length takes, what measuring perplexity takes, and what fits.

    Counted by arithmetic from the model's configuration; times rest on an assumed rate, which is printed.

    \b
    posgen llm plan --model llama2-7b --length 32768 --batch 64 --gpu h100
    posgen llm plan --model llama2-7b --length 32768 --batch 64 --gpu h100 --lora
    posgen llm plan --model results/models/SmolLM2-135M-Instruct --recipe short --gpu cpu
    """
    from conf.finetuning import recipe as named
    from eval.running.llm.planning import make_plan, sizes_of
    from posgen.errors import BadValue, require

    if model is None:
        raise BadValue("model", "", "give it: --model NAME, a folder or a published size such as llama2-7b")
    given = {"length": length, "batch": batch, "steps": steps, "micro_batch": micro_batch}
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    if length is not None:
        settings.append("block=null")
    require(documents >= 1, "documents", documents, "use at least 1")
    require(teraflops is None or 0 < teraflops < 1e6, "teraflops", teraflops, "use a number above 0, below 1000000")
    typer.echo(_text(make_plan(model, sizes_of(model), named(recipe, settings), lora, gpu, teraflops, documents)))


def _text(made: Plan) -> str:
    from cli.shared.output import duration, table
    from posgen.errors import printable

    recipe, device = made.recipe, made.device

    def gigabytes(count: float) -> str:
        return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"

    def verdict(count: float) -> str:
        return "unknown" if made.room is None else "yes" if count <= made.room else "NO"

    way = f"LoRA r={recipe.lora_rank} on bf16 weights (base_precision=bf16)" if made.lora else "full"
    lines = [
        f"{printable(made.model)}: {made.sizes.parameters:,} weights"
        + (f", {made.trained:,} of an adapter trained" if made.lora else ""),
        f"{device.title}, {'memory unknown' if made.room is None else gigabytes(made.room)}; "
        f"assumed {made.teraflops:g} TFLOP/s effective in bf16: times are no better than that",
        "",
        f"Fine-tuning, {way}, {recipe.steps:,} steps of {recipe.batch:,} x {recipe.length:,} tokens ({recipe.share})",
    ]
    parts = [("weights", made.tuning.weights), ("gradients, fp32", made.tuning.gradients)]
    parts += [("AdamW moments, fp32", made.tuning.moments), ("inputs of layers, checkpointed", made.tuning.inputs)]
    parts += [("one layer, computed again", made.tuning.layer), ("logits of a chunk", made.tuning.logits)]
    rows = [(name, gigabytes(count), "") for name, count in parts]
    rows.append(("total", gigabytes(made.tuning.total), f"fits: {verdict(made.tuning.total)}"))
    lines += [table(("memory", "", ""), rows)]
    lines += [
        f"operations {made.step_flops:.3g} a step, {made.tuning_flops:.3g} in all: "
        f"{duration(made.step_seconds)} a step, {duration(made.tuning_seconds)} in all",
        "",
        f"Perplexity, {made.documents:,} documents at {recipe.length:,} tokens in bf16, one pass each",
        f"memory {gigabytes(made.measuring.total)}, fits: {verdict(made.measuring.total)}; operations "
        f"{made.pass_flops:.3g} a pass: {duration(made.pass_seconds)} a pass, {duration(made.measuring_seconds)} for "
        "each encoding with a fixed table; one that follows the length takes a pass for each length",
    ]
    if made.room is not None and made.tuning.total > made.room:
        others = [(name, gigabytes(count), verdict(count), how) for name, count, how in made.alternatives]
        header = ("what else", "memory on each device", "fits", "how")
        lines += ["", "Fine-tuning like this does not fit.", table(header, others)]
    return "\n".join(lines)
