"""The committed results of the quick profile are whole, and the README shows them."""

from __future__ import annotations

from conf import published as paper
from eval.evidence.cells import collect
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
            assert len({record["seed"] for record in (*cell.finished, *cell.diverged)}) >= 3
    assert all(record["git_commit"] and not record["git_dirty"] for record in collection.records())


def test_the_readme_shows_the_committed_table() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- table1", 1)[1].split("-->\n", 1)[1].split("<!-- /table1 -->")[0]
    assert shown.strip() == (results() / "quick" / "table1.md").read_text().strip()
