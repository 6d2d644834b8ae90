"""`posgen llm harness`: standard tasks of lm-eval under several encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import AdapterOption, OtherRopeOption, ThreadsOption
from cli.shared.records import RESULTS
from posgen.places import STANDARD_TASKS


def harness(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a model of the hub: owner/name.")],
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="NAME[,NAME...]", help="Tasks, groups or tags of lm-eval.")
    ] = "niah_single_1,ruler_vt",
    rope: Annotated[
        str, typer.Option("--rope", metavar="NAME[,NAME...]", help="Encodings; none is the model's own.")
    ] = "none,yarn,resonance_yarn",
    factor: Annotated[float, typer.Option("--factor", metavar="X", help="Scaling factor s.")] = 2.0,
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths",
            metavar="N[,N...]",
            help="Tokens of a sample, for tasks that have a length; the longest is the "
            "context of the others. [default: the length trained on]",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="The first N samples of each task. [default: all, RULER's are 500]",
            show_default=False,
        ),
    ] = None,
    fewshot: Annotated[
        int | None,
        typer.Option(
            "--fewshot", metavar="N", help="Examples in front. [default: as the task says]", show_default=False
        ),
    ] = None,
    include: Annotated[
        Path | None,
        typer.Option(
            "--include",
            metavar="DIR",
            help="A folder with YAML files of your own tasks. Code that they name (!function) is run.",
            show_default=False,
        ),
    ] = None,
    adapter: AdapterOption = None,
    other_rope: OtherRopeOption = False,
    dtype: Annotated[str, typer.Option("--dtype", help="fp32, bf16 or fp16.")] = "fp32",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:N.")] = "cpu",
    threads: ThreadsOption = None,
    records: Annotated[
        Path, typer.Option("--records", metavar="FILE", help="The file that records are added to.")
    ] = RESULTS / STANDARD_TASKS,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what is recorded.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME[,NAME...]", help="terminal, markdown, csv.")
    ] = "terminal",
) -> None:
    """Run standard tasks by lm-eval on a model with other position encodings put into it.

    Each result is recorded as it comes; what is recorded under the same settings is not measured again. niah_single_1,
    niah_multikey_2, niah_multikey_3, ruler_vt, ruler_cwe and ruler_fwe make their samples and need no network; others
    load data from the Hugging Face hub. `pip install 'posgen[harness]'` first. `posgen llm tasks` shows the records.

    \b
    posgen llm harness results/models/SmolLM2-135M-Instruct --tasks niah_single_1 --lengths 1024 --limit 10
    posgen llm harness my-model --tasks hellaswag,arc_easy --rope none,yarn --factor 4 --lengths 8192
    posgen llm harness my-model --tasks my_task --include my-tasks
    """
    import os

    # lm-eval's and RULER's own bars; read once, when tqdm is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    from cli.shared.output import chosen_formats, show, tell_slow_bf16
    from conf.overrides import numbers, words
    from eval.evidence.llm.harness import table
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.running.llm.harness import Request, measure
    from models.lm.loading import load
    from posgen.errors import BadValue

    formats = chosen_formats(format, ("terminal", "markdown", "csv"))
    chosen = tuple(numbers("lengths", lengths)) if lengths is not None else ()
    request = Request(
        tuple(words("tasks", tasks)), tuple(words("rope", rope)), factor, chosen, limit, fewshot, include, other_rope
    )
    request.check()
    if threads is not None:
        import torch

        if not threads.isdecimal() or int(threads) < 1:
            raise BadValue("threads", threads, "use 1 or more")
        torch.set_num_threads(int(threads))
    tell_slow_bf16(dtype, device, "--dtype fp32")
    measured = measure(load(model, dtype, device, adapter), request, records, fresh)
    result = table(measured)
    texts = {"markdown": lambda: markdown([result]), "csv": lambda: csv_text(result)}
    show(formats, lambda console: terminal([result], console), texts, None, "harness")
