"""The committed results: every table and every number behind a figure follows from the committed records."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from conf.verdict import rules
from eval.cells import collect
from eval.figures.figure3 import curves, tidy_csv
from eval.published import load_table1
from eval.records import load
from eval.table1 import build
from eval.table1_render import latex, markdown
from eval.table1_render import tidy_csv as table_csv
from eval.verdict.judge import judge
from eval.verdict.render import markdown as verdict_markdown
from eval.verdict.render import section
from eval.verdict.table import tidy_csv as verdict_csv

ROOT = Path(__file__).parent.parent
PROFILES = sorted(path.parent for path in (ROOT / "results").glob("*/records.jsonl") if not path.parent.is_symlink())
PUBLISHED = load_table1(files("conf") / "published" / "table1.csv")


@pytest.mark.parametrize("folder", PROFILES, ids=lambda folder: folder.name)
def test_tables_and_curves_follow_from_the_records(folder: Path) -> None:
    collection = collect(load(folder / "records.jsonl"))
    table = build(collection, PUBLISHED)
    verdicts = judge(collection, PUBLISHED, rules())
    assert (folder / "table1.md").read_text() == markdown(table, section(verdicts))
    assert (folder / "table1.csv").read_text() == table_csv(table)
    assert (folder / "table1.tex").read_text() == latex(table)
    assert (folder / "verdict.md").read_text() == verdict_markdown(verdicts)
    assert (folder / "verdict.csv").read_text() == verdict_csv(verdicts)
    found = [curve for name in collection.protocols for curve in curves(collection, name, list(PUBLISHED))]
    assert (folder / "figure3.csv").read_text() == tidy_csv(found)
    for name in collection.protocols:
        assert (folder / f"figure3-{name}.png").stat().st_size > 10_000
        assert (folder / f"figure3-{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_quick_profile_is_committed_whole() -> None:
    collection = collect(load(ROOT / "results" / "quick" / "records.jsonl"))
    assert set(collection.protocols) >= {"paper", "zero_shot"}
    for protocol in ("paper", "zero_shot"):
        for place in PUBLISHED:
            cell = collection.cell(protocol, *place)
            assert len({record["seed"] for record in (*cell.finished, *cell.diverged)}) >= 3
    assert all(record["git_commit"] and not record["git_dirty"] for record in collection.records())


def test_the_readme_shows_the_committed_table() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- table1", 1)[1].split("-->\n", 1)[1].split("<!-- /table1 -->")[0]
    assert shown.strip() == (ROOT / "results" / "quick" / "table1.md").read_text().strip()
