"""The committed results of the quick profile are whole, and the README shows them."""

from __future__ import annotations

from conf import published as paper
from eval.evidence.cells import collect
from eval.evidence.table import markdown
from eval.evidence.table1 import build
from eval.evidence.table1_tables import in_the_papers_shape
from eval.running.plan import settings
from eval.store.records import load
from tests.committed import ROOT, results


def test_the_quick_profile_is_committed_whole() -> None:
    collection = collect(load(results() / "quick" / "records.jsonl"))
    protocols = settings("quick").profile.protocols
    assert set(collection.protocols) >= set(protocols)
    for protocol in protocols:
        for place in paper.table1():
            cell = collection.cell(protocol, *place)
            assert len({record.seed for record in (*cell.finished, *cell.diverged)}) >= 3
    makers = [maker for record in collection.records() for maker in (*record.trained_by, record.measured_by)]
    assert all(maker.git_commit and maker.git_dirty is False for maker in makers)


def test_the_readme_shows_the_table_of_the_committed_records() -> None:
    """In the paper's shape, under the protocol that comes nearest to the published table."""
    table = build(collect(load(results() / "paper" / "records.jsonl"), ["zero_shot"]), paper.table1())
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- table1", 1)[1].split("-->\n", 1)[1].split("<!-- /table1 -->")[0]
    assert shown.strip() == markdown([in_the_papers_shape(table, "zero_shot", list(paper.table1_names()[0]))]).strip()
