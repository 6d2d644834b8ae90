"""`posgen llm perplexity`: losses of long texts under one encoding after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared.options import AdapterOption, DeviceOption, OtherRopeOption, ThreadsOption
from cli.shared.records import RESULTS
from posgen.places import PERPLEXITY

if TYPE_CHECKING:
    from eval.running.llm.perplexity_plan import Asked, Request

RECORDS = RESULTS / PERPLEXITY
RUNS = RESULTS / "runs"


def perplexity(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [KEY=VALUE]...",
            help="A folder or a model of the hub; then settings of the protocol (lengths=[2048,4096] bos=none) and "
            "of encodings (yarn.beta_fast=32).",
            show_default=False,
        ),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(
            "--texts",
            metavar="PATH",
            help="A .txt, .jsonl, .parquet or .arrow file, or a folder; repeatable.",
            show_default=False,
        ),
    ] = None,
    rope: Annotated[
        str, typer.Option("--rope", metavar="NAME[,NAME...]", help="Encodings: none, pi, yarn, resonance_yarn, ...")
    ] = "none",
    factor: Annotated[float, typer.Option("--factor", metavar="X", help="The scaling factor s.")] = 2.0,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="How to measure: paper, yarn, token or lm_eval.")
    ] = "token",
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="NAME",
            help="A declared experiment instead: figure4, figure4_tuned, ...",
            show_default=False,
        ),
    ] = None,
    adapter: AdapterOption = None,
    other_rope: OtherRopeOption = False,
    text_field: Annotated[
        str | None,
        typer.Option("--text-field", metavar="NAME", help="Column of texts. [default: guessed]", show_default=False),
    ] = None,
    ids_field: Annotated[
        str | None,
        typer.Option("--ids-field", metavar="NAME", help="The column of token ids.", show_default=False),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="NAME", help="fp32, bf16 or fp16. [default: bf16]", show_default=False),
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The records are added to it.")] = RECORDS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be measured, estimate the time, and stop.")
    ] = False,
    records: Annotated[
        list[Path] | None,
        typer.Option("--records", metavar="FILE", help="Measure nothing; show these.", show_default=False),
    ] = None,
) -> None:
    """Measure perplexity by length of a language model under several position encodings, without tuning it.

    Each document's losses are kept, so that every length, weighting and paired difference comes from one pass; the same
    command goes on where it was stopped. conf/llm/perplexity has the presets, conf/llm the plans.

    \b
    posgen llm perplexity MODEL --texts book.txt --rope none,yarn,resonance_yarn --factor 2 lengths=[2048,4096]
    posgen llm perplexity MODEL --texts texts.jsonl --preset yarn lengths=[8192] stride=512 samples=10
    posgen llm perplexity --plan figure4 --dry-run
    posgen llm perplexity --records results/llm/records.jsonl
    """
    from eval.store.lm_kinds import PerplexityRecord
    from eval.store.records import load
    from posgen.errors import BadValue

    words = list(arguments or ())
    if records:
        if words:
            raise BadValue("records", records[0], "shows what was measured; leave out the model and settings")
        _show([record for path in records for record in load(path, kind=PerplexityRecord)])
        return
    model = words.pop(0) if words and "=" not in words[0] else None
    if plan is not None and adapter is not None:
        raise BadValue("adapter", adapter, "is not of a plan; leave it out")
    request = _request(
        model, words, plan, preset, rope, factor, texts, dtype, device, adapter, text_field, ids_field, out
    )
    request = replace(request, other_rope=other_rope)
    _measure(request, threads, dry_run)


def _request(
    model: str | None,
    settings: Sequence[str],
    plan: str | None,
    preset: str,
    rope: str,
    factor: float,
    texts: Sequence[Path] | None,
    dtype: str | None,
    device: str | None,
    adapter: str | None,
    text_field: str | None,
    ids_field: str | None,
    out: Path,
) -> Request:
    """What the options ask for. BadValue where they leave out a model or texts."""
    from conf.overrides import words
    from conf.perplexity import perplexity_plan, perplexity_protocol
    from eval.running.llm.perplexity_plan import Asked, Request
    from posgen.errors import BadValue

    own, params = _settings(settings)
    asked: tuple[Asked, ...]
    if plan is not None:
        declared = perplexity_plan(plan)
        asked = tuple(
            Asked(
                perplexity_protocol(declared.preset, _merged(part.set, own)), tuple(part.rope), part.factor, params,
                tuple(declared.documents(part)),
            )
            for part in declared.parts
        )  # fmt: skip
        model, texts = model or declared.model, texts or [Path(declared.texts)]
        dtype, profile = dtype or declared.dtype, declared.name
    else:
        if model is None:
            raise BadValue("model", "", "name a folder or a model of the hub: posgen llm perplexity MODEL --texts PATH")
        if not texts:
            raise BadValue("texts", "", "name a file or folder: --texts PATH")
        asked = (Asked(perplexity_protocol(preset, own), tuple(words("rope", rope)), factor, params),)
        profile = preset
    return Request(
        model, tuple(texts), asked, profile, dtype or "bf16", device or "cpu", adapter, text_field, ids_field, out, RUNS
    )


def _settings(settings: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """(settings of the protocol, parameters of encodings by name)."""
    from conf.overrides import parse

    own: list[str] = []
    params: dict[str, dict[str, Any]] = {}
    for text in settings:
        override = parse(text)
        encoding, _, parameter = override.key_or_group.partition(".")
        if not parameter or encoding == "perplexity":
            own.append(text)
        else:
            params.setdefault(encoding, {})[parameter] = override.value()
    return own, params


def _merged(declared: Sequence[str], own: Sequence[str]) -> list[str]:
    """The plan's settings, those of the command line in their place."""
    keys = {text.partition("=")[0].removeprefix("perplexity.") for text in own}
    return [*(text for text in declared if text.partition("=")[0] not in keys), *own]


def _measure(request: Request, threads: str | None, dry_run: bool) -> None:
    import torch

    from cli.shared.output import duration, tell_slow_bf16
    from eval.running.job import thread_count
    from eval.running.llm.perplexity import PerplexityRun
    from eval.running.llm.perplexity_plan import lines
    from eval.store.lm_kinds import PerplexityRecord
    from eval.store.records import load_if_there
    from posgen.errors import BadValue

    if threads is not None and not (threads.isdigit() and int(threads) > 0):
        raise BadValue("threads", threads, "use a whole number, at least 1")
    count = thread_count(None if threads is None else int(threads))
    torch.set_num_threads(1)  # encodings are looked at with a few tokens: threads would wait for each other
    run = PerplexityRun(request)
    summary = run.begin()
    torch.set_num_threads(count)
    for line in lines(run.language_model, request, run.parts):
        print(line, flush=True)
    operations = f"{summary.flops / 1e12:,.1f} TFLOP" if summary.flops > 1e11 else f"{summary.flops / 1e9:.1f} GFLOP"
    print(f"{summary.passes - summary.left} of {summary.passes} passes are done; {operations} are left", flush=True)
    if summary.left:
        tell_slow_bf16(request.dtype, request.device, "--dtype fp32")
    if dry_run:
        seconds = run.estimate()
        if seconds is not None:
            print(f"about {duration(seconds)}, by operations and the speed of a short pass just now", flush=True)
        return
    number = run.run()
    keys = {part.told_key for part in run.parts}
    stored = load_if_there(request.records, kind=PerplexityRecord)
    _show([
        record for record in stored
        if record.profile == request.profile and record.model_key == run.language_model.key
        and record.protocol_key in keys and record.dtype == request.dtype
    ])  # fmt: skip
    typer.echo(f"records: {request.records}")
    if number is not None:
        typer.echo("posgen: interrupted; the same command resumes", err=True)
        raise typer.Exit(128 + number)


def _show(records: Sequence[Any]) -> None:
    from rich.console import Console

    from eval.evidence.llm.curves import collect
    from eval.evidence.llm.tables import document
    from eval.evidence.table import terminal

    if records:
        console = Console()
        terminal(document(collect(records)), console if console.is_terminal else Console(width=160))
