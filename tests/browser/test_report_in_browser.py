"""The report in a real browser: `make report-check`. Not part of `make test`, which has to pass where there is none."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.main import main
from eval.store.records import append, load
from tests.browser.chromium import Tab, found, tab
from tests.committed import results

pytestmark = pytest.mark.browser
TABLE = "#table1-wide table"
HEADS = f"{TABLE} thead tr:last-child th"


def column(place: int) -> str:
    """JavaScript: the texts of a column of Table 1 from top to bottom."""
    return f"[...document.querySelectorAll('{TABLE} tbody tr')].map(row => row.cells[{place}].innerText)"


def numbers(texts: list[str]) -> list[float | None]:
    return [None if text == "—" else float(text.split()[0]) for text in texts]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the committed quick records without those of YaRN on CoT: a cell is missing."""
    folder = tmp_path_factory.mktemp("report")
    committed = load(results() / "quick" / "records.jsonl")
    kept = [record for record in committed if (record.task, record.pe) != ("cot", "yarn")]
    append(folder / "results" / "quick" / "records.jsonl", kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["report"])
    assert ended.value.code == 0
    return folder / "results" / "quick" / "report.html"


@pytest.fixture(scope="module")
def opened(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    browser = found()
    if browser is None:
        pytest.fail("no browser: install chromium, or name one in BROWSER")
    with tab(browser, tmp_path_factory.mktemp("browser")) as shown:
        shown.open(page.as_uri())
        yield shown


@pytest.fixture
def fresh(opened: Tab, page: Path) -> Tab:
    """The page, newly loaded in a window of a desktop's size, with all details unfolded."""
    opened.show_as(1280)
    opened.open(page.as_uri())
    opened.value("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    return opened


def test_details_are_folded_until_a_link_leads_there(opened: Tab, page: Path) -> None:
    opened.show_as(1280)
    opened.open(page.as_uri())
    state = "[...document.querySelectorAll('details')].map(details => details.open)"
    assert not any(opened.value(state))
    opened.click("nav a[href='#verdicts']")
    assert opened.value("document.querySelector('#verdicts details').open")
    opened.open("about:blank")  # or the next address would only scroll this page
    opened.open(f"{page.as_uri()}#table1-wide")
    assert opened.value("document.querySelector('#table1-wide details').open")
    assert sum(opened.value(state)) == 1


def test_nothing_is_fetched_and_nothing_goes_wrong(fresh: Tab, page: Path) -> None:
    asked = [e["params"]["request"]["url"] for e in fresh.events if e["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    bad = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    assert [event for event in fresh.events if event["method"] in bad] == []
    images = fresh.value("[...document.images].map(image => [image.complete, image.naturalWidth, image.alt.length])")
    assert len(images) >= 10
    assert all(complete and width > 400 and alt > 100 for complete, width, alt in images)


def test_a_click_on_a_header_sorts_the_rows(fresh: Tab) -> None:
    place = fresh.value(f"[...document.querySelectorAll('{HEADS}')].findIndex(h => /OOD ± std/.test(h.innerText))")
    head = f"{HEADS}:nth-child({place + 1})"
    printed = fresh.value(column(place))
    values = [value for value in numbers(printed) if value is not None]
    assert (len(printed), len(values)) == (12, 11)
    for order, expected in (
        ("ascending", [*sorted(values), None]),
        ("descending", [*sorted(values, reverse=True), None]),
        (None, numbers(printed)),
    ):
        fresh.click(f"{head} button")
        assert numbers(fresh.value(column(place))) == expected
        assert fresh.value(f"document.querySelector('{head}').getAttribute('aria-sort')") == order


def test_the_keyboard_sorts_too_and_only_one_column_is_marked(fresh: Tab) -> None:
    fresh.click(f"{HEADS}:nth-child(3) button")
    fresh.value(f"document.querySelector('{HEADS}:nth-child(2) button').focus()")
    fresh.press("Enter", 13, "\r")
    assert fresh.value(column(1)) == sorted(fresh.value(column(1)))
    assert fresh.value("document.querySelectorAll('#table1-wide [aria-sort]').length") == 1
    fresh.press("Tab", 9)
    fresh.press(" ", 32, " ")
    published = numbers(fresh.value(column(2)))
    assert published == sorted(published, key=lambda value: value or 0.0)


def test_every_table_sorts(fresh: Tab) -> None:
    """Rows only ever change their order, in every column of every table."""
    lost = fresh.value(
        """[...document.querySelectorAll('table')].flatMap((table, number) => {
             const rows = () => [...table.tBodies[0].rows].map(row => row.innerText);
             const before = JSON.stringify(rows().sort());
             return [...table.querySelectorAll('th button')].filter(button => {
               button.click();
               return JSON.stringify(rows().sort()) !== before;
             }).map(button => number + ' ' + button.innerText);
           })"""
    )
    assert lost == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_wide_as_the_window(fresh: Tab, tmp_path: Path, width: int, scheme: str) -> None:
    fresh.show_as(width, prefers_color_scheme=scheme)
    assert fresh.value("document.documentElement.scrollWidth") == width
    # What is wider scrolls inside its own frame, which a keyboard reaches.
    assert fresh.value("[...document.querySelectorAll('.scroll')].every(frame => frame.tabIndex === 0)")
    size = fresh.value("[...document.querySelectorAll('td, p')].map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert min(size) >= 12
    data = fresh.screenshot()
    (tmp_path / "page.png").write_bytes(data)
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert shown.shape[1] == width
    assert (shown[:40].mean() > 200) == (scheme == "light")
    assert 0.01 < (np.abs(shown.astype(int) - int(shown[0, 0])) > 60).mean() < 0.6


def test_text_is_readable_on_its_ground(fresh: Tab) -> None:
    """WCAG's contrast of at least 4.5, light and dark."""
    for scheme in ("light", "dark"):
        fresh.show_as(1280, prefers_color_scheme=scheme)
        for selector in ("p", "figcaption", "a", ".warning p", ".missing p", "td", ".gap"):
            ink, ground = fresh.value(
                f"""(() => {{
                  let e = document.querySelector('{selector}');
                  const ink = getComputedStyle(e).color;
                  while (getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)') e = e.parentElement;
                  return [ink, getComputedStyle(e).backgroundColor];
                }})()"""
            )
            assert contrast(rgb(ink), rgb(ground)) >= 4.5, (scheme, selector)


def test_it_prints_whole_on_white(fresh: Tab, tmp_path: Path) -> None:
    fresh.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    fresh.call("Emulation.setDeviceMetricsOverride", width=1032, height=703, deviceScaleFactor=1, mobile=False)
    # 1032 CSS pixels are the 273 mm between the margins of A4 on its side.
    assert fresh.value("document.documentElement.scrollWidth") <= 1032
    wide = (
        "[...document.querySelectorAll('table, img, pre')].filter(e => e.getBoundingClientRect().right > 1032).length"
    )
    assert fresh.value(wide) == 0
    assert fresh.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    data = fresh.pdf()
    (tmp_path / "page.pdf").write_bytes(data)
    sizes = {tuple(float(x) for x in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", data)}
    assert {(round(right), round(top)) for _, _, right, top in sizes} == {(842, 595)}
    sections = fresh.value("document.querySelectorAll('section').length")
    pages = len(re.findall(rb"/Type /Page\b(?!s)", _unpacked(data)))
    assert pages > sections  # the first page is the head's, and each section begins one of its own


def _unpacked(pdf: bytes) -> bytes:
    """The PDF with what its compressed object streams hold behind it."""
    streams = re.findall(rb"/Type /ObjStm.*?stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL)
    return pdf + b"".join(zlib.decompressobj().decompress(stream) for stream in streams)


def rgb(text: str) -> tuple[float, ...]:
    return tuple(float(part) / 255 for part in re.findall(r"\d+", text)[:3])


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.1: the ratio of relative luminances."""

    def luminance(colour: tuple[float, ...]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
