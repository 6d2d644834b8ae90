"""docs/language-models.md runs as it stands, block by block, in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.encodings import build_rotary
from models.hf.ropes import rotary_of
from models.spec import EncodingSpec
from tests.committed import ROOT
from tests.docs.pages import run_page

PAGE = (ROOT / "docs" / "language-models.md").read_text()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page(PAGE)

    spec = EncodingSpec("ntk", scaling="ntk", resonance=True, params={"factor": 8.0})
    wanted, _ = build_rotary(spec, 32).frequencies(1)
    assert rotary_of(names["again"].config).frequencies(1)[0].tolist() == wanted.tolist()
    keys = json.loads((tmp_path / "rope.json").read_text())["rope_scaling"]
    whole = json.loads((tmp_path / "my-long-llama" / "config.json").read_text())
    assert whole["rope_parameters"]["long_factor"] == keys["long_factor"]
    assert (whole["max_position_embeddings"], whole["hidden_size"]) == (32768, 64)
