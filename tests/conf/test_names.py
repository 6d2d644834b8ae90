"""Titles stand in the YAML files, are part of no setting, and put tables in order."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf import files, names
from conf.compose import Choice, composer
from conf.overrides import choices, read
from conf.published import table1_names
from models.spec import plain
from posgen.errors import UserError

TITLES = {
    "rope": "RoPE", "resonance_rope": "Resonance RoPE", "yarn": "YaRN", "resonance_yarn": "Resonance YaRN", "pi": "PI",
    "ntk": "NTK-aware", "dynamic_ntk": "Dynamic NTK", "ntk_by_parts": "NTK-by-parts", "llama3": "Llama 3",
    "longrope": "LongRoPE (without its search)", "p_rope": "p-RoPE", "resonance_p_rope": "Resonance p-RoPE",
    "partial": "Partial rotary",
    "randomized": "Randomized RoPE", "nope": "NoPE", "alibi": "ALiBi", "t5_bias": "T5 bias", "fire": "FIRE",
    "learned": "Learned", "sinusoidal": "Sinusoidal", "clip": "Clip", "log_n": "RoPE, log n", "ssmax": "RoPE, SSMax",
    "pope": "PoPE", "resonance_pope": "Resonance PoPE", "xpos": "xPos", "kerple": "KERPLE",
    "rnope": "RNoPE", "rerope": "ReRoPE", "leaky_rerope": "Leaky ReRoPE", "self_extend": "SelfExtend",
    "resonance_self_extend": "Resonance SelfExtend", "fox": "FoX",
}  # fmt: skip


@pytest.fixture
def other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of conf/."""
    for group in ("pe", "task", "protocol"):
        (tmp_path / group).mkdir()
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    names._values.cache_clear()
    yield tmp_path
    names._values.cache_clear()


def test_every_file_has_a_title_of_its_own() -> None:
    assert {pe: names.encoding(pe) for pe in TITLES} == TITLES
    for group, called in (("pe", names.encoding), ("task", names.task), ("protocol", names.protocol)):
        titles = [called(name) for name in choices(group)]
        assert not set(titles) & set(choices(group)), group
        assert len(set(titles)) == len(titles), group


def test_what_has_no_title_is_called_by_its_id() -> None:
    assert [names.encoding("mine"), names.encoding("resonance_mine")] == ["mine", "Resonance mine"]
    assert [names.task("mine"), names.protocol("mine")] == ["mine", "mine"]


def test_a_title_is_read_from_a_new_file_and_needs_no_list(other_files: Path) -> None:
    (other_files / "pe" / "steps.yaml").write_text("name: steps\ntitle: Steps of two\n")
    (other_files / "pe" / "resonance_steps.yaml").write_text("defaults: [steps, _self_]\nname: resonance_steps\n")
    (other_files / "pe" / "resonance_old.yaml").write_text("title: Old and resonant\n")
    (other_files / "protocol" / "mine.yaml").write_text("title: trained at night\n")
    assert names.encoding("steps") == "Steps of two"
    assert names.encoding("resonance_steps") == "Resonance Steps of two"
    assert names.encoding("resonance_old") == "Old and resonant"
    assert names.protocol("mine") == "mine: trained at night"


@pytest.mark.parametrize("text", ["title: [\n", "- title\n"])
def test_a_broken_file_is_told_in_one_line(text: str, other_files: Path) -> None:
    (other_files / "pe" / "broken.yaml").write_text(text)
    with pytest.raises(UserError, match=r"broken\.yaml") as caught:
        names.encoding("yarn")
    assert "\n" not in str(caught.value)


def test_a_title_is_part_of_no_configuration() -> None:
    with composer() as make:
        for pe, protocol in (("yarn", "paper"), ("resonance_yarn", "zero_shot"), ("alibi", "released")):
            config = make(Choice("cot", pe, protocol), ())
            for group in (config.pe, config.task, config.protocol):
                assert set(plain(group)) == {field.name for field in dataclasses.fields(group)}
                assert "title" not in plain(group)
    with pytest.raises(UserError, match=r"pe\.title"):
        read(["pe.title=Mine"])


def test_published_encodings_come_first_then_titles_in_order_each_before_its_resonance_form() -> None:
    order = sorted([*choices("pe"), "mine"], key=lambda pe: names.place_order("cot", pe))
    assert order[:4] == table1_names()[1]
    rest = [pe for pe in order[4:] if not pe.startswith("resonance_")]
    titles = [names.encoding(pe).lower() for pe in rest]
    assert titles == sorted(titles)
    assert {"mine", "alibi", "t5_bias"} < set(rest)
    for place, pe in enumerate(order):
        if pe.startswith("resonance_"):
            assert order[place - 1] == names.counterpart(pe)
    tasks = sorted([*choices("task"), "addition"], key=lambda task: names.place_order(task, "rope"))
    assert tasks[:4] == [*table1_names()[0], "addition"]
    copied, hidden = ([f"{task}_{change}" for task in table1_names()[0]] for change in ("copy", "hidden"))
    assert tasks[4:] == [*copied, *hidden, "recursive_interleaved", "semi_recursive_interleaved", "text"]


def test_reading_titles_is_cheap(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom conf import names\nstart = time.process_time()\n"
        "names.encoding('resonance_yarn'), names.task('cot'), names.protocol('paper'), names.place_order('cot', 'pi')\n"
        "print(time.process_time() - start)\n"
        "assert not {'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1  # 7 ms on a quiet machine
