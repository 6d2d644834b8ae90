"""What git says of a declaration: it was in the commit that a record names, it was not, or it cannot be told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from conf.experiments import load
from eval.evidence.experiment.committed import Commits, commits, sentence
from eval.store.kinds import AccuracyRecord
from tests.declared import write
from tests.eval.made import MAKER

Maker = Callable[..., AccuracyRecord]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree whose first commit has no declaration."""
    folder = (tmp_path / "suite").resolve()
    (folder / "conf/experiment").mkdir(parents=True)
    git(folder.parent, "init", "-q", str(folder))
    git(folder, "commit", "-q", "--allow-empty", "-m", "nothing")
    return folder


def committed(tree: Path, **keys: object) -> str:
    write(tree / "conf/experiment", **keys)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "--allow-empty", "-m", "declared")
    return git(tree, "rev-parse", "HEAD")


def made(record: Maker, trained: str | None, measured: str | None, seed: int = 1) -> AccuracyRecord:
    one = record("cot", "rope", seed)
    training = structs.replace(one.training, trained_by=(structs.replace(MAKER, git_commit=trained),))
    return structs.replace(one, training=training, measured_by=structs.replace(MAKER, git_commit=measured))


def asked(tree: Path, *records: AccuracyRecord) -> Commits:
    file = tree / "conf/experiment/tiny.yaml"
    return commits(load(str(file)), file, records, tree)


def test_a_declaration_that_its_commits_hold_was_there_before(tree: Path, record: Maker) -> None:
    commit = committed(tree)
    later = committed(tree, title="Does the machinery of experiments work?")  # the same, once more
    found = asked(tree, made(record, commit, later), made(record, later, later, 2))
    assert found == Commits((2, 0, 0), (2, 0, 0), ())
    assert found.shown
    declared = load(str(tree / "conf/experiment/tiny.yaml"))
    assert sentence(found, declared).startswith(
        f"Declared before: the declaration stood, with digest {declared.digest}"
    )


def test_a_comment_added_later_changes_nothing(tree: Path, record: Maker) -> None:
    commit = committed(tree)
    file = tree / "conf/experiment/tiny.yaml"
    file.write_text(f"# remarks\n{file.read_text()}")
    assert asked(tree, made(record, commit, commit)).shown


def test_trained_before_it_was_declared_or_declared_otherwise(tree: Path, record: Maker) -> None:
    before = git(tree, "rev-parse", "HEAD")
    other = committed(tree, question="Something else?")
    commit = committed(tree)
    records = (made(record, before, commit), made(record, other, commit, 2), made(record, commit, commit, 3))
    found = asked(tree, *records)
    assert found == Commits((1, 2, 0), (3, 0, 0), tuple(sorted((before[:12], other[:12]))))
    text = sentence(found, load(str(tree / "conf/experiment/tiny.yaml")))
    assert text.startswith(
        "Not shown to be declared before: git says that 2 of 3 were trained by a commit without this"
    )
    assert before[:12] in text


def test_what_git_does_not_know_cannot_be_told(tree: Path, tmp_path: Path, record: Maker) -> None:
    commit = committed(tree)
    unknown = made(record, None, "0123456789abcdef0123456789abcdef01234567")
    assert asked(tree, unknown) == Commits((0, 0, 1), (0, 0, 1), ())
    outside = write(tmp_path)
    known = made(record, commit, commit)
    assert commits(load(str(outside)), outside, [known], tree) == Commits((0, 0, 1), (0, 0, 1), ())
    below = tree / "conf"  # installed inside a repository that is not the suite's
    assert commits(
        load(str(tree / "conf/experiment/tiny.yaml")), tree / "conf/experiment/tiny.yaml", [known], below
    ) == (Commits((0, 0, 1), (0, 0, 1), ()))
