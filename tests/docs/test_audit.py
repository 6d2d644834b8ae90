"""docs/audit.md and the sentence of docs/findings.md say what the audit finds."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tests.command import run
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def audited(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert run("audit", "--format", "json", *arguments) == 0
    made: list[dict] = json.loads(capsys.readouterr().out)
    return made


def test_the_sentences_are_those_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = "recursive,cot,semi_recursive,cot_hidden,semi_recursive_interleaved"
    (block,) = re.findall(r"<!-- sentences.*?-->\n(.*?)<!-- /sentences -->", PAGE, flags=re.DOTALL)
    assert block.splitlines() == [f"- {one['sentence']}" for one in audited(capsys, "--task", tasks)]


@pytest.mark.slow
def test_the_even_answers_of_the_semi_recursive_task(capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = audited(capsys, "--task", "semi_recursive", "--length", "256")
    fewest = Counter(one["fewest_without_far"] for one in made["answers"] if one["position"] % 2 == 0)
    assert fewest == {2: fewest[2], 3: fewest[3], 4: fewest[4], None: 1}
    told = f"(four at {fewest[4]} of the {fewest.total()}, two at {fewest[2]})"
    assert f"two to four of the last eight at every position but the first {told}" in WORDS
    (short,) = audited(capsys, "--task", "semi_recursive")
    best = max(one["one_function"]["even l"] for one in short["sets"] if "far" not in one["tokens"])
    findings = " ".join((ROOT / "docs" / "findings.md").read_text(encoding="utf-8").split())
    for words in (WORDS, findings):
        assert f"is right at no more than {100 * best:.2f} % of the even positions below 64" in words
