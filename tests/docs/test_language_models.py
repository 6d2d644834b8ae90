"""docs/language-models.md runs as it stands, block by block, in a folder of its own."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from cli.main import main
from models.encodings import build_rotary
from models.hf.ropes import rotary_of
from models.spec import EncodingSpec
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "language-models.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, text in BLOCK.findall(PAGE):
        if language == "python":
            exec(text, names)
            continue
        for line in text.splitlines():
            with pytest.raises(SystemExit) as stopped:
                main(shlex.split(line)[1:])
            assert not stopped.value.code, line

    spec = EncodingSpec("ntk", scaling="ntk", resonance=True, params={"factor": 8.0})
    wanted, _ = build_rotary(spec, 32).frequencies(1)
    assert rotary_of(names["again"].config).frequencies(1)[0].tolist() == wanted.tolist()
    keys = json.loads((tmp_path / "rope.json").read_text())["rope_scaling"]
    whole = json.loads((tmp_path / "my-long-llama" / "config.json").read_text())
    assert whole["rope_parameters"]["long_factor"] == keys["long_factor"]
    assert (whole["max_position_embeddings"], whole["hidden_size"]) == (32768, 64)
