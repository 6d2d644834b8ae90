"""Table 1 as terminal table, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from conf import names
from eval.evidence.table1 import Measured, Row, Table1

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MISSING = "—"
_PUBLISHED = ("OOD", "var.")
_MEASURED = ("ID", "OOD ± std", "var.", "n", "diff.")
_LATEX_PROTOCOLS = 2  # as many as fit across a page
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---",
}  # fmt: skip

Emphasis = Callable[[str], str]


def terminal(table: Table1, console: Console) -> None:
    """Print the table; protocols stand side by side where the console is wide enough, else below each other."""
    whole = _grid(table, table.protocols)
    unbounded = console.options.update(max_width=10_000)  # else the answer is never more than the console's width
    fits = console.measure(whole, options=unbounded).maximum <= console.width
    for grid in [whole] if fits else [_grid(table, (protocol,)) for protocol in table.protocols]:
        console.print(grid)
    for line in (table.caption, *table.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def markdown(table: Table1, below: str = "") -> str:
    """A GitHub table with the caption above it and the notes below it, and last, as it is, what else belongs below."""
    head = ["Task", "Encoding", *(f"Published {name}" for name in _PUBLISHED)]
    head += [f"{protocol} {name}" for protocol in table.protocols for name in _MEASURED]
    align = ["---", "---", *["---:"] * (len(head) - 2)]
    body = [
        [names.task(row.task), names.encoding(row.pe), *_texts(row, table.protocols, lambda text: f"**{text}**")]
        for row in table.rows
    ]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (head, align, *body)]
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([f"**Table 1.** {table.caption}", "", *lines, "", *notes, "", *([below] if below else [])])


def tidy_csv(table: Table1) -> str:
    """One line a cell and protocol, numbers with six decimals, an empty field where there is no number."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for line in _tidy(table):
        if writer is None:
            writer = csv.DictWriter(out, fieldnames=list(line), lineterminator="\n")
            writer.writeheader()
        writer.writerow(line)
    return out.getvalue()


def latex(table: Table1) -> str:
    """A `table*` for two-column papers, `\\usepackage{booktabs}` needed. More than two protocols make several."""
    size = _LATEX_PROTOCOLS
    chunks = [table.protocols[start : start + size] for start in range(0, len(table.protocols), size)]
    return "\n".join(line for protocols in chunks for line in _latex_lines(table, protocols))


def _texts(row: Row, protocols: Sequence[str], strong: Emphasis) -> list[str]:
    """The row's numbers as text: the published pair, then five a protocol."""
    cells = [MISSING, MISSING]
    if row.published:
        percent = _number(row.published.ood_percent)
        cells = [strong(percent) if row.published_best else percent, _number(row.published.variance)]
    for protocol in protocols:
        cells += _measured_texts(row.measured[protocol], strong)
    return cells


def _measured_texts(measured: Measured, strong: Emphasis) -> list[str]:
    ood = _number(measured.ood_percent)
    if measured.ood_std_points is not None:
        ood += f" ± {_number(measured.ood_std_points)}"
    difference = measured.difference_points
    return [
        _number(measured.id_percent),
        strong(ood) if measured.best else ood,
        _number(measured.variance),
        measured.n_text,
        MISSING if difference is None else f"{difference:+.2f}",
    ]


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _grid(table: Table1, protocols: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"Table 1 · profile {table.collection.profile}")
    grid.add_column("\nEncoding", no_wrap=True)
    for group, heads in [("Published", _PUBLISHED), *((protocol, _MEASURED) for protocol in protocols)]:
        for head in heads:
            above = group if head.startswith("OOD") else ""
            grid.add_column(f"{above}\n{head}", justify="right", no_wrap=True)
    for task, rows in groupby(table.rows, key=lambda row: row.task):
        grid.add_row(f"[bold]{names.task(task)}[/bold]")
        for row in rows:
            # A star says what bold says, for terminals and logs that show no bold.
            cells = _texts(row, protocols, lambda text: f"[bold]*{text}[/bold]")
            grid.add_row(f"  {names.encoding(row.pe)}", *cells)
        grid.add_section()
    return grid


def _tidy(table: Table1) -> Iterator[dict[str, object]]:
    for row in table.rows:
        for protocol in table.protocols:
            measured = row.measured[protocol]
            cell = table.collection.cell(protocol, row.task, row.pe)
            records = (*cell.finished, *cell.diverged)
            first = next(iter(records), None)
            yield {
                "profile": table.collection.profile,
                "profile_label": table.collection.label,
                "protocol": protocol,
                "task": row.task,
                "pe": row.pe,
                "ood_accuracy_percent": _rounded(measured.ood_percent),
                "ood_std_points": _rounded(measured.ood_std_points),
                "ood_variance_as_published": _rounded(measured.variance),
                "id_accuracy_percent": _rounded(measured.id_percent),
                "id_std_points": _rounded(measured.id_std_points),
                "n": len(measured.seeds),
                "n_diverged": len(measured.diverged_seeds),
                "seeds": " ".join(map(str, measured.seeds)),
                "diverged_seeds": " ".join(map(str, measured.diverged_seeds)),
                "best_of_pair": measured.best,
                "published_ood_accuracy_percent": row.published.ood_percent if row.published else None,
                "published_variance": row.published.variance if row.published else None,
                "published_best_of_pair": row.published_best if row.published else None,
                "difference_points": _rounded(measured.difference_points),
                "accuracy_mode": table.collection.accuracy_mode,
                "train_length": first.train_length if first else None,
                "test_length": first.length if first else None,
                "modulus": first.training.task.modulus if first else None,
                "run_ids": " ".join(record.run_id for record in records),
                "git_commits": " ".join(sorted({record.trained_by[-1].git_commit or "unknown" for record in records})),
            }


def _rounded(value: float | None) -> float | None:
    """Six decimals: more than any test set resolves, and free of binary dust such as 76.99999999999999."""
    return None if value is None else round(value, 6)


def _latex_lines(table: Table1, protocols: Sequence[str]) -> Iterator[str]:
    groups = [("Published", _PUBLISHED), *((protocol, _MEASURED) for protocol in protocols)]
    columns = 1 + sum(len(heads) for _, heads in groups)
    yield r"\begin{table*}[t]"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield rf"\begin{{tabular}}{{@{{}}l*{{{columns - 1}}}{{r}}@{{}}}}"
    yield r"\toprule"
    spans, rules, start = [], [], 2
    for group, heads in groups:
        spans.append(rf"\multicolumn{{{len(heads)}}}{{c}}{{{_escape(group)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(heads) - 1}}}")
        start += len(heads)
    yield f"& {' & '.join(spans)} \\\\"
    yield "".join(rules)
    yield f"Encoding & {' & '.join(_escape(head) for _, heads in groups for head in heads)} \\\\"
    for task, rows in groupby(table.rows, key=lambda row: row.task):
        yield r"\midrule"
        yield rf"\multicolumn{{{columns}}}{{@{{}}l}}{{\textit{{{_escape(names.task(task))}}}}} \\"
        for row in rows:
            # Escaped before it is emphasised: the command's own braces must stay.
            texts = (_latex_number(text) for text in _texts(row, protocols, lambda text: f"*{text}"))
            yield f"{_escape(names.encoding(row.pe))} & {' & '.join(texts)} \\\\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield rf"\caption{{{_escape(table.caption)}}}"
    yield rf"\label{{tab:posgen-{'-'.join(protocols).replace('_', '-')}}}"
    yield r"\par\smallskip\raggedright\scriptsize"
    yield from (rf"{_escape(note)}\par" for note in table.notes)
    yield r"\end{table*}"
    yield ""


def _latex_number(text: str) -> str:
    plain = _escape(text.removeprefix("*")).replace(" $\\pm$ ", "$\\pm$").replace("-", "$-$")
    if text == MISSING:
        return _escape(text)
    return rf"\textbf{{{plain}}}" if text.startswith("*") else plain


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
