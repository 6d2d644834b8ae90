"""`posgen llm leval`: ask a language model L-Eval's closed-ended questions under several encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.shared.options import AdapterOption, DeviceOption, OtherRopeOption, ThreadsOption
from cli.shared.records import RESULTS
from posgen.places import ANSWERS

RECORDS = RESULTS / ANSWERS


def leval(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a model of the hub.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ENCODING.KEY=VALUE]...", help="Parameters of encodings: yarn.beta_fast=32.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="L-Eval's *.jsonl files.", show_default=False)
    ] = None,
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="NAME[,NAME...]", help="One or more of these, and codeU.")
    ] = "coursera,gsm,quality,tpo,sci_fi",
    rope: Annotated[
        str, typer.Option("--rope", metavar="NAME[,NAME...]", help="Encodings: none, yarn, resonance_yarn, ntk, ...")
    ] = "yarn,resonance_yarn",
    factor: Annotated[float, typer.Option("--factor", metavar="X", help="The scaling factor s.")] = 2.0,
    max_length: Annotated[
        str, typer.Option("--max-length", metavar="N", help="Tokens of document and answer; 16k means 16,000.")
    ] = "16k",
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", metavar="N", help="Of an answer.")] = 512,
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help="leval (Llama 2's marks), or chat (the tokenizer's).")
    ] = "leval",
    scoring: Annotated[
        str, typer.Option("--scoring", metavar="NAME", help="As in posgen llm score; needs no new answers.")
    ] = "leval",
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="The first N questions of each task only.", show_default=False),
    ] = None,
    adapter: AdapterOption = None,
    other_rope: OtherRopeOption = False,
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="fp32, bf16 or fp16.")] = "bf16",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The records are added to it.")] = RECORDS,
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="Answers are kept below it.")] = Path(
        "results/runs"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked, estimate memory and time, and stop.")
    ] = False,
) -> None:
    """Answer L-Eval's closed-ended tasks (the paper's Table 2) with a language model, and score the answers.

    The data are yours: LEval-data/Closed-ended-tasks of OpenLMLab/LEval. Answers are greedy; prompts and truncation are
    the authors'. Each answer is kept as it comes, so that the same command goes on where it was stopped. Answers hold
    text of the data and stay below results/runs; records hold scores alone.

    \b
    posgen llm leval MODEL --data Closed-ended-tasks --factor 2 --dry-run
    posgen llm leval MODEL --data Closed-ended-tasks --tasks tpo --rope none,yarn,resonance_yarn --limit 20
    posgen llm leval MODEL --data Closed-ended-tasks --template chat --max-length 8k --dtype fp32
    """
    import torch

    from cli.shared.output import tell_slow_bf16
    from conf.overrides import words
    from eval.measuring.llm.leval.prompts import Generation, tokens_of
    from eval.measuring.llm.leval.scoring import preset
    from eval.measuring.llm.leval.tasks import chosen
    from eval.running.job import thread_count
    from eval.running.llm.leval import LEvalRun, Request
    from models.lm.ropes import check_names
    from posgen.errors import BadValue, require

    if data is None:
        raise BadValue("data", "", "name the folder of L-Eval's files: --data DIR")
    require(limit is None or limit >= 1, "limit", limit, "use at least 1")
    require(threads is None or (threads.isdigit() and int(threads) > 0), "threads", threads,
            "use a whole number, at least 1")  # fmt: skip
    request = Request(
        model, data, tuple(chosen(words("tasks", tasks))), check_names(words("rope", rope)), factor,
        Generation(template, tokens_of(max_length), max_new_tokens), preset(scoring), dtype, device or "cpu", adapter,
        limit, _params(settings or []), out, runs, other_rope,
    )  # fmt: skip
    torch.set_num_threads(thread_count(None if threads is None else int(threads)))
    run = LEvalRun(request)
    run.begin()
    tell_slow_bf16(dtype, device, "--dtype fp32")
    if dry_run:
        _estimate(run)
        return
    number = run.run()
    _show(run)
    if number is not None:
        typer.echo("posgen: interrupted; the same command resumes", err=True)
        raise typer.Exit(128 + number)


def _params(settings: list[str]) -> dict[str, dict[str, Any]]:
    from conf.overrides import parse
    from posgen.errors import BadValue

    params: dict[str, dict[str, Any]] = {}
    for text in settings:
        override = parse(text)
        encoding, _, key = override.key_or_group.partition(".")
        if not key:
            raise BadValue(encoding, text.partition("=")[2], "write ENCODING.KEY=VALUE, such as yarn.beta_fast=32")
        params.setdefault(encoding, {})[key] = override.value()
    return params


def _estimate(run: Any) -> None:
    from cli.shared.output import duration
    from eval.measuring.llm.leval.answering import check_memory
    from eval.running.llm.leval_estimate import SHORT, estimate
    from posgen.resources import size

    guess = estimate(run)
    limit = run.request.generation.max_new_tokens
    needed = check_memory(run.model, guess.tokens + 1024 + limit, True)
    encodings = len(run.request.ropes)
    typer.echo(f"{run.model.name}: {guess.questions} questions under each of {encodings} encodings; documents up to "
               f"{guess.tokens:,} tokens; {size(needed)} of memory beside the weights")  # fmt: skip
    typer.echo(f"about {duration(guess.short)} if every answer has {min(SHORT, limit)} tokens, "
               f"{duration(guess.longest)} if each has {limit}; timed on a few short passes just now")  # fmt: skip


def _show(run: Any) -> None:
    from rich.console import Console

    from eval.evidence.llm.table2 import document
    from eval.evidence.table import terminal
    from eval.store.lm_kinds import AnswersRecord
    from eval.store.records import load_if_there

    stored = [
        record for record in load_if_there(run.request.records, kind=AnswersRecord)
        if record.model_key == run.model.key and record.dtype == run.request.dtype
    ]  # fmt: skip
    if stored:
        console = Console()
        terminal(document(stored, [])[1:], console if console.is_terminal else Console(width=160))
        typer.echo(f"records: {run.request.records}")
