"""docs/ledger.md shows the ledger as it is, and the committed effects."""

from __future__ import annotations

from pathlib import Path

from conf import published as paper
from conf.ledger import ledger
from conf.rules import verdict_rules as rules
from eval.evidence.ledger.effects import Effects, build
from eval.evidence.ledger.tables import ledger_table
from eval.evidence.table import markdown
from eval.store.records import load
from tests.committed import ROOT, results

PAGE = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
NOT_YET = "Not measured yet: no records of this sweep are committed."
FOLDERS = sorted(path.parent for path in results().glob("*/ledger/records.jsonl"))


def block(name: str) -> str:
    return PAGE.split(f"<!-- {name}:", 1)[1].split("-->\n", 1)[1].split(f"<!-- /{name} -->")[0].strip()


def effects(folder: Path) -> Effects:
    return build(load(folder / "records.jsonl"), ledger(), list(paper.table1()), rules().confidence)


def test_the_page_shows_the_ledger() -> None:
    assert block("ledger") == markdown([ledger_table(ledger())]).strip()


def test_the_page_shows_the_committed_effects_or_says_that_there_are_none() -> None:
    shown = []
    for folder in FOLDERS:
        place = f"../results/{folder.relative_to(results()).as_posix()}"
        shown += [f"![Heat map, base {base}]({place}/effects-{base}.png)" for base in effects(folder).bases]
        shown.append((folder / "effects.md").read_text(encoding="utf-8").strip())
    assert block("effects") == ("\n\n".join(shown) or NOT_YET)
