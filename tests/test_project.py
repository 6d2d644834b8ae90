"""Things that rot: the direction of imports, what the documents name, what the wheel carries, paths of a machine."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.committed import ROOT, results

# Each room may import itself and these; design: cli -> eval -> conf -> models -> posgen.
BELOW = {
    "posgen": set[str](),
    "models": {"posgen"},
    "conf": {"models", "posgen"},
    "eval": {"conf", "models", "posgen"},
    "cli": {"conf", "eval", "models", "posgen"},
}
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def imported(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The top-level packages that an import names."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return [name.partition(".")[0] for name in names]


FLOORS = ("store", "measuring", "running", "evidence")
"""The rooms of eval, lowest first: each imports itself and those before it."""


@pytest.mark.parametrize("room", BELOW)
def test_imports_only_point_down(room: str) -> None:
    above = BELOW.keys() - BELOW[room] - {room}
    sources = sorted((ROOT / room).rglob("*.py"))
    assert sources
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {module}"
        for path in sources
        for node in imported(path)
        for module in modules(node)
        # A bare `import eval` hides the builtin; a relative import (no module) hides where it points.
        if module in above or module == "" or (isinstance(node, ast.Import) and module == "eval")
    ]
    assert wrong == []


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_within_eval_only_point_down(floor: str) -> None:
    above = FLOORS[FLOORS.index(floor) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in sorted((ROOT / "eval" / floor).rglob("*.py"))
        for node in imported(path)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.startswith(tuple(f"eval.{room}" for room in above))
    ]
    assert wrong == []
    assert {path.name for path in (ROOT / "eval").iterdir() if path.is_dir()} - {"__pycache__"} == set(FLOORS)


def test_the_benchmark_needs_numpy_and_pyarrow_alone() -> None:
    allowed = {"numpy", "pyarrow", "posgen", *sys.stdlib_module_names}
    found = {module for path in (ROOT / "posgen").rglob("*.py") for node in imported(path) for module in modules(node)}
    assert found <= allowed


def makefile_goals() -> dict[str, str]:
    """The goals that `make help` lists, with their descriptions."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+):.*## (.+)$", text, flags=re.MULTILINE))


def test_make_help_lists_every_goal() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)
    assert sorted(makefile_goals()) == sorted(phony.split())
    assert makefile_goals().keys() >= {"setup", "test", "lint", "generate", "reproduce-table1", "figure3", "bench"}


def command_lines(text: str) -> list[list[str]]:
    """The `make ...` and `posgen ...` calls of a text: in code spans, and on lines of fenced or indented code."""
    text = re.sub(r"\\\n\s*", "", text)
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    indented = re.findall(r"^ {4,}(\S.*)$", text, flags=re.MULTILINE)
    calls = [re.sub(r"^[\s$]*(\.venv/bin/)?", "", line) for line in [*spans, *indented, *"".join(fenced).splitlines()]]
    return [
        shlex.split(re.split(r"\s{2,}|[;&|<>]", call)[0], comments=True)
        for call in calls
        if re.match(r"(make|posgen) [a-z-]", call)
    ]


def test_commands_are_found_in_documents() -> None:
    text = "posgen is\n\n    make test   # all\n\n```sh\n$ posgen train \\\n   --pe yarn\n```\nand `posgen show`"
    assert sorted(command_lines(text)) == [["make", "test"], ["posgen", "show"], ["posgen", "train", "--pe", "yarn"]]


def unknown(words: list[str]) -> list[str]:
    """What a call of posgen names that does not exist: the command, or some of its options."""
    from cli.app import root

    group = command = root
    verb = ["posgen"]
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command, verb = getattr(command, "commands")[word], [*verb, word]  # noqa: B009 - of groups only
    if command is group and not words[0].startswith("--"):
        return [f"posgen {words[0]}"]
    names = {"--help", *(name for parameter in command.params for name in parameter.opts)}
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [f"{' '.join(verb)} {option}" for option in options if option not in names]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_commands_that_exist(path: Path) -> None:
    wrong = []
    for tool, *words in command_lines(path.read_text(encoding="utf-8")):
        if tool == "make":
            wrong += [f"make {word}" for word in words if "=" not in word and word not in makefile_goals()]
        else:
            wrong += unknown(words)
    assert wrong == []


def test_the_readme_begins_with_the_two_commands() -> None:
    called = [" ".join(words) for words in command_lines((ROOT / "README.md").read_text(encoding="utf-8"))]
    assert {"make reproduce-table1", "make test"} <= set(called)


def test_the_ci_script_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")


def test_the_wheel_carries_every_file_of_the_rooms(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for room in BELOW
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert carried == ours
    assert {"conf/config.yaml", "conf/published/table1.csv"} <= carried


def test_the_version_is_the_same_everywhere() -> None:
    from posgen import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert [project["version"]] == re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE)
    assert project["version"] == __version__


def test_every_dependency_has_a_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert {re.split(r"[<>=\[ ]", name)[0] for name in wanted} - {"posgen"} <= pinned  # posgen[llm]: an extra of ours
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def at_the_top() -> list[Path]:
    """The files of the project's own folder, without those that a user has left there, where git can tell."""
    tracked = ""
    with contextlib.suppress(OSError):
        asked = ["git", "-C", str(ROOT), "ls-files", ":(glob)*"]
        tracked = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return [ROOT / name for name in tracked.splitlines()] or list(ROOT.iterdir())


def test_no_file_names_a_path_of_some_machine() -> None:
    folders = [*BELOW, "tests", "docs", ".ci"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [*at_the_top(), *results().rglob("*")]
    binary = {".npz", ".npy", ".png", ".pdf", ".pyc", ".parquet"}
    place = re.compile(r"(?<![\w/.:~-])/(home|Users|root|work|mnt|opt|srv)/\w")
    wrong = [
        f"{path}: {found.group()}"
        for path in files
        if path.is_file() and path.suffix not in binary and "__pycache__" not in path.parts
        for found in [place.search(path.read_text(encoding="utf-8"))]
        if found
    ]
    assert wrong == []
