"""The report's page: what it says, against the records; what it is made of, against HTML's own rules."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import urllib.parse
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from msgspec import structs

from cli.app import app
from cli.main import main
from cli.report import report
from eval.evidence.figures.bands import Series
from eval.evidence.report import alt
from eval.evidence.report.page import Page, Section, html
from eval.evidence.table import Cell, Column, Table, Words
from eval.store.records import append, load
from posgen.errors import UserError
from tests.committed import ROOT, results
from tests.eval.made import with_config

LABEL = 'a <small> & "other" profile\'s label'
SOURCE = "feedbeefcafe"
VOID = {"meta", "link", "img", "br", "hr", "wbr"}


class Reader(HTMLParser):
    """A page as a list of elements, each with its attributes and its text; complains of tags that do not pair."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        element: tuple[str, dict[str, str], list[str]] = (tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, tag

    def handle_data(self, data: str) -> None:
        for _, _, text in self._open:
            text.append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of every element of a kind."""
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]


def rows(table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall("<td[^>]*>(.*?)</td>", line)] for line in
            re.findall("<tr>(.*?)</tr>", table)]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the quick records of one protocol, under another label and without YaRN on CoT."""
    folder = tmp_path_factory.mktemp("work")
    kept = [r for r in load(results() / "quick/records.jsonl") if (r.task, r.pe) != ("cot", "yarn")]
    changed = [
        with_config(
            structs.replace(r, protocols=("paper",), measured_by=structs.replace(r.measured_by, source=SOURCE)),
            profile={**r.config["profile"], "label": LABEL},
        )
        for r in kept
        if "paper" in r.protocols
    ]
    append(folder / "results/quick/records.jsonl", changed)
    return folder


@pytest.fixture(scope="module")
def text(place: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with pytest.raises(SystemExit) as ended:
            main(["report"])
    assert ended.value.code == 0
    return (place / "results/quick/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_tags_pair_and_ids_are_there_once(read: Reader) -> None:
    ids = Counter(attributes["id"] for _, attributes, _ in read.elements if "id" in attributes)
    assert ids
    assert set(ids.values()) == {1}
    pointing = [a["aria-labelledby"] for _, a, _ in read.elements if "aria-labelledby" in a]
    pointing += [a["href"][1:] for a, _ in read.of("a") if a["href"].startswith("#")]
    assert set(pointing) <= set(ids)
    assert [len(read.of(tag)) for tag in ("html", "head", "title", "body", "h1", "main", "nav")] == [1] * 7
    sections = [a["id"] for a, _ in read.of("section")]
    # The contents list what is folded; what the page opens with needs no link.
    assert [a["href"][1:] for a, _ in read.of("a") if a["href"].startswith("#")] == sections[2:]


def test_nothing_comes_from_elsewhere(read: Reader, text: str) -> None:
    sources = [a["src"] for _, a, _ in read.elements if "src" in a] + [a["href"] for a, _ in read.of("link")]
    assert len(sources) == 6  # an empty icon, and five figures under the one protocol
    assert all(source.startswith("data:") for source in sources)
    assert {a["href"] for a, _ in read.of("a") if not a["href"].startswith("#")} == {"https://arxiv.org/abs/2403.00071"}
    policy = next(a["content"] for a, _ in read.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", urllib.parse.unquote(text))


def test_the_label_stands_wherever_numbers_do_and_is_never_markup(read: Reader) -> None:
    assert read.of("small") == []
    ((_, title),) = read.of("title")
    assert LABEL in title
    assert f"profile quick ({LABEL})" in read.of("header")[0][1]
    measured = [caption for a, caption in read.of("figcaption") if not a["id"].startswith(("ledger", "provenance"))]
    assert len(measured) >= 9
    assert all(LABEL in caption for caption in measured)
    assert "does not have the paper's sizes" in read.of("header")[0][1]
    first = next(text for a, text in read.of("section") if a["id"] == "table1")
    assert re.search(r"train_<wbr>?size\s*4000\s*10000", first) or re.search(r"train_size\s*4000\s*10000", first)


def test_table_1_has_the_numbers_of_the_records(place: Path, text: str) -> None:
    table = rows(text.partition('<section id="table1"')[2].partition("</table>")[0])
    records = load(place / "results/quick/records.jsonl")
    for place_of, task in enumerate(("recursive", "cot", "semi_recursive")):
        for pe, name in (("rope", "RoPE"), ("yarn", "YaRN"), ("resonance_yarn", "Resonance YaRN")):
            accuracies = [100 * (r.ood_accuracy or 0.0) for r in records if (r.task, r.pe) == (task, pe)]
            (line,) = [line for line in table if line[:1] == [name]]
            expected = f"{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f}" if accuracies else "—"
            assert line[2 + 3 * place_of] == expected, (task, pe)


def test_what_is_missing_is_named_with_a_command_that_exists(read: Reader, text: str) -> None:
    missing = [words for a, words in read.of("div") if a.get("class") == "missing"]
    assert any("CoT YaRN" in words for words in missing)
    for kind, command in (("ledger", "sweep --ledger"), ("league", "sweep --league"), ("lengths", "lengths --measure")):
        assert any(
            f"results/quick/{kind}/records.jsonl" in w and f"posgen {command} --profile quick" in w for w in missing
        )
    assert len(re.findall(r'class="gap">\(not measured\)', text)) == 4
    lines = [line.split() for _, block in read.of("pre") for line in block.splitlines() if line.startswith("posgen ")]
    assert len(lines) >= 8
    for words in lines:
        named: Any = typer.main.get_command(app)
        for word in words[1:]:
            named = getattr(named, "commands", {}).get(word, named)  # `llm` has commands of its own
        options = {name for parameter in named.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_the_way_back_names_everything_that_was_trained(read: Reader) -> None:
    again = read.of("pre")[-1][1]
    assert "--task recursive,cot,semi_recursive" in again
    assert "--seed 42,4955,5549 --profile quick" in again
    commits = {r.trained_by[-1].git_commit for r in load(results() / "quick/records.jsonl")}
    assert all(str(commit) in read.of("main")[0][1] for commit in commits)


def test_the_code_that_made_a_number_is_named_by_its_hash(read: Reader) -> None:
    """Of the measuring; the records of the trainings are older than the hash."""
    made = [table for _, table in read.of("table") if "Commit" in table and "Source" in table]
    assert len(made) == 1
    assert SOURCE in made[0]


def test_pictures_are_told_in_words(read: Reader) -> None:
    words = [a["alt"] for a, _ in read.of("img")]
    assert len(words) == len(set(words)) == 5
    assert all("RoPE" in one and len(one) > 150 for one in words)
    assert any(
        "pre-critical features" in one and "Resonance RoPE 0" not in one.split("among the others")[1] for one in words
    )


def test_the_page_is_small_and_always_the_same(place: Path, text: str) -> None:
    assert len(text.encode()) < 3_000_000
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli.main import main; main()"
    call = [sys.executable, "-c", code, "report", "--out", "again.html"]
    done = subprocess.run(
        call, cwd=place, capture_output=True, text=True, env={"PYTHONHASHSEED": "7", "PATH": ""}, check=True
    )
    assert "not measured: Effective length" in done.stdout
    assert "not measured: Language models" in done.stdout
    assert (place / "again.html").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--profile", "paper"], "profile=paper: no records at results/paper/records.jsonl"),
        (["tracker.mode=offline"], "tracker.mode=offline: needs --wandb"),
        (["--wandb", "tracker=none"], "--wandb needs tracker=wandb"),
        (["--wandb", "tracker.mood=offline"], "tracker.mood"),
        (["--wandb", "optim.lr=1"], "optim.lr=1: is not supported by this command"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_records_of_another_folder_make_a_page_beside_them(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    append(tmp_path / "own/quick/records.jsonl", load(place / "results/quick/records.jsonl"))
    with pytest.raises(SystemExit) as ended:
        main(["report", "--profile", "quick", "paths.results=own"])
    assert ended.value.code == 0
    page = (tmp_path / "own/quick/report.html").read_text(encoding="utf-8")
    assert "own/quick/records.jsonl" in page
    assert not (tmp_path / "results").exists()


def test_a_place_that_cannot_be_written_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("eval.evidence.report.content.build", lambda _: page_of())
    with pytest.raises(UserError, match=r"cannot write results/quick/records\.jsonl/x\.html"):
        report(out=Path("results/quick/records.jsonl/x.html"))


def page_of(*parts: Table | Words, label: str = "l") -> Page:
    """A page with one section of these parts."""
    section = Section("s", "S", tuple(("", part) for part in parts))
    return Page("t", label, Words(()), "", (section,))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (Cell(27.52, "27.52 ± 4.54", strong=True), "27.52"), (Cell(-37.77), "-37.77"), (Cell(2, "2/3"), "2"),
        (Cell(0.0004, "< 0.001"), "0.0004"), (Cell(1.2e-05), "1.2e-05"), (Cell(None), None), (Cell("no effect"), None),
    ],
)  # fmt: skip
def test_a_column_of_numbers_sorts_by_the_value_and_shows_the_text(cell: Cell, value: str | None) -> None:
    table = Table((Column("b", number=True, decimals=2),), ((cell,),))
    ((attributes, text),) = Reader(html(page_of(table))).of("td")
    assert attributes.get("data-value") == value
    assert text == table.texts((cell,))[0]


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "![x](http://a.example/x.png)", "[x](javascript:alert(1))", "<img src=x onerror=y>",
     "[x](../secret.html)", "[x](http://evil.example/)", "<http://evil.example/>"],
)  # fmt: skip
def test_no_text_becomes_markup_or_leaves_the_page(hostile: str) -> None:
    column = Column(hostile, group=hostile)
    table = Table((column,), ((Cell(hostile, strong=True),),), hostile, hostile, (hostile,), ((0, hostile),), hostile)
    parts = ((hostile, table), ("", Words((hostile,))), ("", Words((hostile,), points=True)))
    page = Page(hostile, hostile, Words((hostile,)), hostile, (Section("s", hostile, parts),))
    read = Reader(html(page))
    assert [len(read.of(tag)) for tag in ("script", "img")] == [1, 0]  # the page's own
    assert {a["href"] for a, _ in read.of("a")} == {"#s", "https://arxiv.org/abs/2403.00071"}
    assert not any(name.startswith("on") for _, attributes, _ in read.elements for name in attributes)


def test_a_table_has_its_caption_its_label_its_heads_and_its_notes() -> None:
    columns = (Column("Encoding"), Column("ID", number=True, group="paper"), Column("OOD", number=True, group="paper"))
    table = Table(columns, ((Cell("RoPE"), Cell(1), Cell(2)),), "Accuracies", "Of the *table*.", ("a note",))
    read = Reader(html(page_of(table, label="profile q")))
    assert [caption for _, caption in read.of("figcaption")] == ["Accuracies. Of the table. Profile q."]
    assert [text for _, text in read.of("th")] == ["", "paper", "Encoding", "ID", "OOD"]
    assert [a.get("colspan") for a, _ in read.of("th")][:2] == ["1", "2"]
    assert "a note" in [text for _, text in read.of("li")]
    assert [len(read.of(tag)) for tag in ("details", "summary")] == [1, 1]


def test_the_page_opens_with_table_1_and_folds_the_details(read: Reader) -> None:
    folded = [a["id"] for a, _ in read.of("section")]
    assert folded[:2] == ["table1", "figure3"]
    assert len(read.of("details")) == len(folded) - 2
    assert read.of("summary")[0][1] == "Verdicts and claims"


def series(task: str, pe: str, *mean: float) -> Series:
    return Series("paper", task, pe, (1,), 0, tuple(range(len(mean))), mean, mean, mean)


def test_words_name_the_highest_first() -> None:
    found = [
        series("cot", "rope", 0.5, 0.25), series("cot", "yarn", 0.1, 0.75), series("cot", "nope"),
        series("recursive", "rope"),
    ]  # fmt: skip
    said = alt.lines("Lines.", found, alt.last, "at the end, in %", 100)
    assert said == "Lines. Highest to lowest at the end, in %: CoT: YaRN 75, RoPE 25; Recursive: no line."
    assert alt.percent_from({"cot": 1})(found[1]) == pytest.approx(75)


def test_a_changed_profile_is_made_again_by_its_settings(full_sweep: Any) -> None:
    from eval.evidence.cells import collect
    from eval.evidence.report.reproduction import Reproduction

    label = "quick profile; changed: optim.lr=1e-3, seed=1,2,3"
    made = [
        with_config(
            structs.replace(record, profile="quick+optim.lr=1e-3+seed=1_2_3"), profile={"name": "quick", "label": label}
        )
        for record in full_sweep()
    ]
    again = Reproduction(collect(made), ["league", "experiments/clip"])
    assert again.sweep == (
        "posgen sweep --task recursive,cot,semi_recursive --pe rope,resonance_rope,yarn,resonance_yarn "
        "--protocol paper,zero_shot --profile quick optim.lr=1e-3 seed=1,2,3",
    )
    assert "posgen sweep --league --profile quick optim.lr=1e-3 seed=1,2,3" in again.everything
    # An experiment declares its own settings, and refuses others: those of the table's records are none of its own.
    assert "posgen experiment run clip --profile quick" in again.everything
    assert again.everything[-1] == "posgen report --profile quick+optim.lr=1e-3+seed=1_2_3"
