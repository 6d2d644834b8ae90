"""A table as LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from eval.evidence.table import MISSING, Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "≥": r"$\geq$", "—": "---", "−": "$-$",
}  # fmt: skip


def latex(table: Table, label: str = "") -> str:
    """A `table*` for two-column papers; it needs \\usepackage{booktabs}. Notes stand below in small type."""
    columns = table.columns
    lines = [r"\begin{table*}[t]", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"]
    lines += [rf"\begin{{tabular}}{{@{{}}{''.join('r' if c.number else 'l' for c in columns)}@{{}}}}", r"\toprule"]
    groups = [(name, len(list(members))) for name, members in groupby(columns, key=lambda column: column.group)]
    if any(name for name, _ in groups):
        spans, rules, start = [], [], 1
        for name, size in groups:
            spans.append(rf"\multicolumn{{{size}}}{{c}}{{{in_latex(name)}}}" if name else "&".join([""] * size))
            rules += [rf"\cmidrule(lr){{{start}-{start + size - 1}}}"] if name else []
            start += size
        lines += [f"{' & '.join(spans)} \\\\", "".join(rules)]
    lines.append(f"{' & '.join(in_latex(column.title) for column in columns)} \\\\")
    for heading, rows in table.blocks():
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{{in_latex(heading)}}}}} \\")
        lines += [f"{' & '.join(_latex_cells(table, row))} \\\\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{in_latex(table.caption)}}}"]
    lines += [rf"\label{{tab:{label}}}"] if label else []
    lines += [r"\par\smallskip\raggedright\scriptsize", *(rf"{in_latex(note)}\par" for note in table.notes)]
    return "\n".join([*lines, r"\end{table*}", ""])


def _latex_cells(table: Table, row: Sequence[Cell]) -> Iterator[str]:
    for cell, column, text in zip(row, table.columns, table.texts(row), strict=True):
        escaped = in_latex(text)
        if column.number and text != MISSING:
            escaped = escaped.replace(" $\\pm$ ", "$\\pm$").replace("-", "$-$")
        yield rf"\textbf{{{escaped}}}" if cell.strong else escaped


def in_latex(text: str) -> str:
    """Text with everything escaped that LaTeX would take for a command."""
    return "".join(_LATEX.get(character, character) for character in text.replace("\n", " "))
