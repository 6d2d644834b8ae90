"""Whatever is typed: status 0, or 2 with one line; no traceback, and nothing written outside of the working folder.

Cases are drawn by seed, so that a failure is seen again: its command line stands in the message.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from posgen import own_code
from tests.command import run
from tests.committed import results

# What a command line can hold: no NUL, and bytes that are no UTF-8 come as lone surrogates.
VALUES = (
    "", " ", "0", "1", "-1", "2.5", "nan", "-inf", "inf", "1e400", "1e-400", "99999999999999999999", "9" * 5000, "0x10",
    "１２", "true", "null", "None", "é", "日本語", "\u202eabc", "\udcff", "a\nb", "\x1b[31mred", "\t", "\x7f",
    "x" * 300, "y" * 5000, "../../escaped", "/proc/1/x", "/dev/null", "~", ".", "..", "a/b", "a\\b", "-x", "--help=1",
    "@file", "a=b", "a=b,c", "a,b", ",", "a,,b", "1,2", "[1,2]", "[1,2", "[[1]]", "'unclosed", '"unclosed', "{a:1}",
    "{a:1", "{a: {b: 1}}", "interval(0,1)", "range(1,4)", "range(1,1000000000)", "range(3,1)", "range(1,9,0)",
    "choice(a,b)", "glob(*)", "shuffle(1,2)", "sort(2,1)", "tag(a,b)", "int(x)", "float('1')", "str(1)", "json_str(1)",
    "extend_list(1)", "${oc.env:HOME}", "${oc.env:NOT_SET_ANYWHERE}", "${nope}", "${", "${}", "${:}", "${either:1}",
    "${eightfold:x}", "${task.far}", "${paths.results}", "${oc.decode:x}", "${oc.create:{a:1}}",
    "${scaling_factor:text,0,1,true}", "[" * 300 + "]" * 300, "[" * 3000, "{" * 300, "(", "\\", "$(touch x)",
    "`touch x`", ";", "|", "*", "?", "#", "%s", "{0}", '=HYPERLINK("x")', "<script>", "builtins:print", "os:system",
    "os:nope", "nope:x", "nope.py:X", ":", "a:", ":b", "rope", "yarn", "alibi", "all", "cot", "recursive", "paper",
    "paper+nope=1", "paper+splits=released", "paper+", "smoke", "quick", "sum_mod", "csv", "png", "markdown",
    "0123456789ab", "cpu", "cuda", "cuda:99", "teacher_forced",
)  # fmt: skip
KEYS = (
    "task.far", "task.near", "task.modulus", "task.h", "task.name", "task.rule", "task.code", "task", "data.seed",
    "data.train_size", "data.train_length", "data.splits", "data", "pe", "pe.kind", "pe.scaling", "pe.base", "pe.name",
    "pe.params", "pe.params.factor", "pe.params.nope", "protocol", "protocol.bos", "profile", "profile.name",
    "profile.label", "profile.seeds", "seed", "threads", "device", "compiled", "model.d_model", "optim.lr", "tracker",
    "tracker.mode", "paths.results", "paths.data", "paths.runs", "verdict.margin_points", "verdict.seed",
    "lengths.lengths", "interventions.at", "yarn.factor", "hydra.run.dir", "+x", "~task", "nope", "", "é", "a.b.c",
    "task@x", "/task",
)  # fmt: skip
RECORDED = ("--records", "--profile", "--protocol", "--format", "--sweep", "--out")
DRAWN = (*RECORDED, "--task")
ENCODING = ("--head-dim", "--base", "--train-length", "--test-length", "--factor")
# Verb -> what always stands behind it, and the options that take a value.
VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "show": ((), ("--task", "--modulus", "--prefix", "--length")),
    "generate": (("--profile", "smoke"), ("--task", "--protocol")),
    "encodings show": ((), ("--pe", *ENCODING)),
    "encodings list": ((), ("--format",)),
    "table1": ((), (*RECORDED, "--accuracy")),
    "verdict": ((), (*RECORDED, "--accuracy")),
    "figure3": ((), RECORDED),
    "positions": ((), DRAWN),
    "curves": ((), DRAWN),
    "gap": ((), (*DRAWN, "--code")),
    "ledger": ((), ("--profile", "--records", "--format", "--out")),
    "ledger --effects": ((), ("--profile", "--records", "--format", "--out")),
    "league": ((), RECORDED),
    "lengths": ((), ("--records", "--profile", "--lengths", "--format", "--out")),
    "interventions": ((), ("--records", "--profile", "--exchange", "--positions", "--task", "--format", "--out")),
    "report": ((), ("--profile", "--code")),
    "status": ((), ("--json",)),
    "evaluate": ((), ("--length", "--accuracy", "--pe", "--protocol", "--device", "--threads", "--code")),
    "export-rope": ((), ("--pe", "--head-dim", "--base", "--train-length", "--test-length", "--config", "--out")),
}
FAST, ALL = 300, 10_000


def command_lines(count: int, seed: int) -> Iterator[list[str]]:
    """So many command lines, every verb in turn."""
    random_one = random.Random(seed)
    for number in range(count):
        verb = list(VERBS)[number % len(VERBS)]
        always, options = VERBS[verb]
        words = [*verb.split(), *always]
        for _ in range(random_one.choice((0, 1, 1, 1, 2, 3))):
            words += [random_one.choice(options), random_one.choice(VALUES)]
        for _ in range(random_one.choice((0, 1, 1, 2))):
            key, value = random_one.choice(KEYS), random_one.choice(VALUES)
            words.append(random_one.choice((f"{key}={value}", f"{key}={value}", f"{key}={value}", value)))
        yield words


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in a folder of its own: whatever appears beside it was written outside."""
    folder = tmp_path / "outer" / "inner" / "place"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(own_code, "_TRUSTED", set())
    monkeypatch.setenv("HOME", str(folder / "home"))  # where matplotlib keeps its fonts
    return folder


@pytest.fixture
def records(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished sweep in the working folder. Pictures are composed but not rendered, which is what takes long."""
    file = place / "results" / "quick" / "records.jsonl"
    file.parent.mkdir(parents=True)
    shutil.copy(results() / "quick" / "records.jsonl", file)
    monkeypatch.setattr("eval.evidence.figures.style.render", lambda *_: b"a picture")
    return file


def outside(place: Path) -> set[Path]:
    """What lies beside the working folder."""
    top = place.parents[2]
    return {path for path in top.rglob("*") if place not in (path, *path.parents)}


def check(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with how a command line ended; None when all is well."""
    before = outside(place)
    try:
        status = run(*words)
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    out, err = capsys.readouterr()
    complaints = [line for line in err.split("\n") if line.startswith("posgen: error: ")]
    if status not in (0, 2):
        return f"status {status}"
    if status == 2 and not (len(complaints) == 1 and err.count("\n") == 1 and err.strip("\n").isprintable()):
        return f"not one line: {err[:300]!r}"
    if len(err) > 2000 and status == 2:
        return f"a line of {len(err)} characters: {err[:200]!r}"
    if "Traceback" in out + err:
        return "a traceback"
    new = outside(place) - before
    # Who names a folder with --out or paths.results=../x means it; a name or a value elsewhere must not lead there.
    asked = {word for word in words if word.startswith("paths.")} | {
        words[i + 1] for i, word in enumerate(words[:-1]) if word == "--out"
    }
    if new and not asked:
        return f"wrote {sorted(map(str, new))}"
    return None


def shown(words: list[str]) -> str:
    """A command line to paste, with its longest words cut."""
    typed = shlex.join(["posgen", *(word if len(word) < 120 else f"{word[:60]}...{len(word)}" for word in words)])
    return typed.encode("utf-8", "backslashreplace").decode()


def failures(count: int, seed: int, place: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    wrong = []
    for words in command_lines(count, seed):
        problem = check(words, place, capsys)
        os.chdir(place)
        if problem:
            wrong.append(f"{shown(words)}\n    {problem}")
    return wrong


def test_a_few_hundred_hostile_command_lines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures(FAST, 1, place, capsys) == []


@pytest.mark.slow
def test_ten_thousand_hostile_command_lines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures(ALL, 2, place, capsys) == []


@pytest.mark.slow
def test_hostile_command_lines_where_there_are_records(
    place: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = records.read_bytes()
    assert failures(FAST, 3, place, capsys) == []
    assert records.read_bytes() == before
