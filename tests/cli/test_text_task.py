"""A small language model from files to figure, as a user types it, and what is refused in one line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from conf.compose import Choice, compose
from eval.store.records import load
from models.spec import Selection
from posgen.errors import BadValue
from tests.command import run

WORDS = (
    "the",
    "wave",
    "of",
    "feature",
    "long",
    "short",
    "turns",
    "and",
    "position",
    "slow",
    "quick",
    "returns",
    "token",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus of made sentences where the plays would be."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/texts/shakespeare")
    folder.mkdir(parents=True)
    draw = random.Random(1)
    for number in range(8):
        text = ". ".join(" ".join(draw.choices(WORDS, k=7)) for _ in range(12))
        (folder / f"{number}.txt").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_from_files_to_figure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ("sweep", "--profile", "text_smoke", "--seed", "5549", "--threads", "1")
    assert run(*sweep) == 0
    stored = Path("results/text_smoke/records.jsonl")
    records = load(stored)
    # Five encodings under `paper`; under `zero_shot` YaRN and its Resonance form are tests of RoPE's trainings.
    places = {(protocol, record.pe) for record in records for protocol in record.protocols}
    pes = ("rope", "resonance_rope", "yarn", "resonance_yarn", "nope")
    assert places == {(protocol, pe) for protocol in ("paper", "zero_shot") for pe in pes}
    assert len({record.run_id for record in records}) == 5
    for record in records:
        assert record.loss_by_position is not None
        assert len(record.loss_by_position.nats) == 64
        assert record.accuracy_by_position is None
        assert record.selection == "best_id_loss"
        assert record.training.task.corpus == "results/texts/shakespeare"
    lines = [json.loads(line) for line in stored.read_text().splitlines()]
    assert all("loss_by_position" in line for line in lines if line["kind"] == "accuracy")
    capsys.readouterr()

    assert run(*sweep) == 0
    assert "5 already finished" in capsys.readouterr().out
    # Moved, it is the same corpus, and nothing is trained again.
    Path("results/texts/shakespeare").rename("moved")
    assert run(*sweep, "paths.texts=moved") == 0
    assert "5 already finished" in capsys.readouterr().out
    assert run("figure4", "--profile", "text_smoke", "--format", "png") == 0
    assert run("table1", "--profile", "text_smoke") == 0
    assert "Text, protocol zero_shot" in capsys.readouterr().out
    assert Path("results/text_smoke/figure4-zero_shot.png").exists()
    assert run("verify") == 0
    run_id = records[0].run_id
    assert run("evaluate", run_id, "--length", "32") == 0
    capsys.readouterr()
    assert run("evaluate", run_id, "--length", "128") == 2
    assert "length=128: a text is not continued: use at most its 64 tokens" in capsys.readouterr().err
    # Another text is another profile, whose records lie apart.
    Path("moved/0.txt").write_text("something else entirely. " * 30)
    assert run("sweep", "--profile", "text_smoke", "--pe", "nope", "--seed", "5549", "task.corpus=moved") == 0
    assert load(stored) == records
    assert not {r.run_id for r in load(Path("results/text_smoke+task.corpus=moved/records.jsonl"))} & {
        record.run_id for record in records
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sweep", "--profile", "text_smoke", "paths.texts=nowhere"), "task.corpus=nowhere: there is no such folder"),
        (("train", "--profile", "text_smoke", "task.corpus=nowhere"), "task.corpus=nowhere: there is no such folder"),
        (("generate", "--task", "text"), "task.modulus=17: a text has 256 bytes"),
        (
            ("sweep", "--profile", "text_smoke", "data.train_size=9999"),
            "data.train_size=9999: the corpus has 8 documents",
        ),
        (
            ("sweep", "--profile", "text_smoke", "data.test_size=9999"),
            "data.test_size=9999: the corpus has 8 documents",
        ),
        (("show", "--task", "text"), "task.modulus=7: a text has 256 bytes"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert told in error.splitlines()[-1]
    assert not Path("results/runs").exists()
    assert not list(Path("results").glob("data/*"))


def test_a_profile_for_texts_is_about_the_text_unless_something_is_named(place: Path) -> None:
    from cli.shared.request import request

    asked = request((), profile="text_smoke", default_profile="quick")
    assert (asked.tasks, asked.pes[:2], len(asked.pes)) == (["text"], ["rope", "resonance_rope"], 5)
    assert request((), profile="text_smoke", task="cot", pe="yarn", default_profile="quick").tasks == ["cot"]
    assert request((), default_profile="quick").tasks == ["recursive", "cot", "semi_recursive"]


@pytest.mark.parametrize("profile", ["text", "text_quick", "text_smoke"])
@pytest.mark.parametrize("protocol", ["paper", "zero_shot", "zero_shot_text"])
def test_the_profiles_compose(place: Path, profile: str, protocol: str) -> None:
    config = compose(Choice(task="text", profile=profile, protocol=protocol))
    assert (config.task.vocabulary, config.task.prefix_length, len(config.task.texts)) == (261, 1, 64)
    assert config.protocol.selection.of(config.task) is Selection.best_id_loss
    assert config.data.test_length % config.data.train_length == 0


def test_the_released_splits_are_not_for_texts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "text_smoke", "--protocol", "released") == 2
    assert "splits=released: texts are split by document" in capsys.readouterr().err
    with pytest.raises(BadValue, match="modulus=17"):
        compose(Choice(task="text"))
