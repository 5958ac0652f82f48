"""The page of a report in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embsnap.cli.escaping import printable
from tests.browser.chromium import Page
from tests.browser.world import BIG, HOSTILE, HOSTILE_ID

UNITS = ("B", "KiB", "MiB", "GiB")
CHARTS = {
    "Norms of rows", "Norm by popularity", "Spectrum", "Dimensions", "Cosine to the row before", "Relative change",
    "Cosine after the best rotation", "Nearest neighbours kept", "Norms", "Shares of rows", "Effective rank",
    "Average cosine", "Map", "Bytes by rank",
}  # fmt: skip


def _read(text: str) -> float:
    """The number that a text on the page stands for."""
    text = text.replace("\u2212", "-").replace(",", "")
    if match := re.fullmatch(r"(-?[\d.]+) %", text):
        return float(match[1]) / 100
    if match := re.fullmatch(r"([\d.]+) ([KMG]?i?B)", text):
        return float(match[1]) * 1024 ** UNITS.index(match[2])
    return float(text)


def _at(data: Any, path: list[str | int]) -> Any:
    for key in path:
        data = data[key]
    return data


def _chart(title: str, inside: str = "#table-0") -> str:
    """A script's expression for the drawing of a chart."""
    found = f"[...document.querySelectorAll('{inside} figure')].find((f) => f.querySelector('.title').textContent === "
    return f"{found}{json.dumps(title)}).querySelector('svg')"


def _rows(page: Page, column: int) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#overview table[aria-label=Tables] tbody tr')]"
        ".filter((row) => row.offsetParent)"
        f".map((row) => row.cells[{column}].textContent)"
    )


def test_every_number_is_the_datas(page: Page, data: Any) -> None:
    for button in ("'.more'", "'details:not([open]) > summary'"):
        page.run(f"document.querySelectorAll({button}).forEach((each) => each.click())")
    page.settle()
    pairs = page.run(
        "[...document.querySelectorAll('[data-path]')].map((e) => [JSON.parse(e.dataset.path), e.textContent])"
    )
    assert len(pairs) > 300
    for path, text in pairs:
        value = _at(data, path)
        if value is None:
            assert text == "\u2013", path
        elif isinstance(value, int):
            assert _read(text) == pytest.approx(value, rel=0 if "i" not in text else 0.06), path
        else:
            assert _read(text) == pytest.approx(value, rel=5e-4, abs=5e-5 if "%" in text else 0), path
    shown = {tuple(path) for path, _ in pairs}
    user = ("stats", "tables", 0)
    assert {(*user, "rows", "norms", "mean"), (*user, "duplicates", "num_duplicates")} <= shown
    assert {("diff", "tables", 0, "matching", "num_born"), ("coverage", 0, "total", "oov_rate")} <= shown


def test_the_data_in_the_page_are_what_json_prints(page: Page, data: Any) -> None:
    held = page.run("JSON.parse(document.getElementById('report').textContent)")
    for name in ("stats", "before", "history", "inspection", "findings"):
        assert held[name] == data[name]


def test_ids_beyond_javascripts_numbers_are_exact(page: Page, data: Any) -> None:
    ids = page.run(
        "[...document.querySelectorAll('#table-0 table[aria-label=\"Top movers\"] tbody th')].map((e) => e.textContent)"
    )
    movers = [mover["id"] for mover in data["diff"]["tables"][0]["movers"]]
    assert ids == [str(number) for number in movers]
    assert min(movers) >= BIG


def test_hostile_names_are_text(page: Page) -> None:
    assert page.run("typeof window.owned") == "undefined"
    assert page.run("document.querySelectorAll('img, iframe, object, svg script, main script').length") == 0
    assert page.run("document.querySelectorAll('body > script').length") == 2
    assert page.run("document.querySelector('#table-3 h3').textContent") == printable(HOSTILE)
    assert printable(HOSTILE_ID) in page.run("document.querySelector('#table-3').textContent")
    assert page.run("/[\\u202e\\x1b]/.test(document.body.innerText)") is False


def test_nothing_but_its_own_script_may_run(opened: Callable[[Path], Page], written: Path) -> None:
    page = opened(written)
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.owned = 1' }))"
    )
    assert page.run("fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused')") == "refused"
    assert page.run("typeof window.owned") == "undefined"
    assert all("Content Security Policy" in problem for problem in page.problems())
    assert page.requests() == [written.resolve().as_uri()]


def test_every_chart_is_drawn(page: Page) -> None:
    titles = set(page.run("[...document.querySelectorAll('#table-0 figure .title')].map((e) => e.textContent)"))
    assert titles == CHARTS
    heights = page.run(
        "[...document.querySelectorAll('figure svg')]"
        ".map((e) => [e.getBoundingClientRect().height, e.querySelectorAll('path, rect').length])"
    )
    assert all(height > 100 and marks for height, marks in heights)
    text = page.run(
        "[...document.querySelectorAll('figure svg *')].flatMap((e) => [...e.attributes]).map((a) => a.value).join(' ')"
    )
    assert not re.search(r"NaN|Infinity|undefined", text)


def test_both_snapshots_are_in_the_norm_chart(page: Page, data: Any) -> None:
    assert page.run(f"{_chart('Norms of rows')}.querySelectorAll('.area.now, .steps.before').length") == 2
    page.run(f"{_chart('Norms of rows')}.closest('figure').querySelector('summary').click()")
    page.settle()
    cells = page.run(
        f"[...{_chart('Norms of rows')}.closest('figure').querySelectorAll('tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    for column, part in ((2, "stats"), (3, "before")):
        counts = data[part]["tables"][0]["rows"]["norms"]["histogram"]["counts"]
        assert sum(_read(row[column]) for row in cells) == sum(counts)


def test_hovering_reads_values_out(page: Page, data: Any) -> None:
    box = _to(page, "Spectrum")
    page.mouse("mouseMoved", box["x"] + 36, box["y"] + 80)
    tip = page.run(f"{_chart('Spectrum')}.parentNode.querySelector('.tip').innerText")
    first = data["stats"]["tables"][0]["rows"]["spectrum"]["singular_values"][0]
    assert _read(re.search(r"rank 1: (\S+)", tip)[1]) == pytest.approx(first, rel=5e-4)


def test_dragging_zooms(page: Page) -> None:
    box = _to(page, "Norms of rows")
    before = _ticks(page, "Norms of rows")
    page.mouse("mouseMoved", box["x"] + 150, box["y"] + 80)
    page.mouse("mousePressed", box["x"] + 150, box["y"] + 80)
    page.mouse("mouseMoved", box["x"] + 250, box["y"] + 80, button="left", buttons=1)
    assert page.run(f"{_chart('Norms of rows')}.querySelectorAll('.selection').length") == 1
    page.mouse("mouseReleased", box["x"] + 250, box["y"] + 80)
    assert _ticks(page, "Norms of rows") != before
    page.run(f"{_chart('Norms of rows')}.closest('figure').querySelector('.reset').click()")
    assert _ticks(page, "Norms of rows") == before


def test_the_keyboard_reaches_and_does_everything(page: Page) -> None:
    page.press("/")
    assert page.run("document.activeElement.id") == "search"
    wanted = page.run(
        "[...document.querySelectorAll('main :is(a, button, input, select, summary, svg[tabindex])')]"
        ".filter((e) => e.checkVisibility()).length"
    )
    page.run(
        "document.getElementById('search').blur(); window.reached = new Set();"
        "document.addEventListener('focusin', (e) => reached.add(e.target))"
    )
    page.run("document.querySelector('.theme').focus()")
    for _ in range(wanted):
        page.press("Tab")
    reached = page.run("[...reached].filter((e) => document.querySelector('main').contains(e)).length")
    assert reached == wanted
    page.run(f"{_chart('Spectrum')}.focus()")
    page.press("ArrowRight", "ArrowRight")
    assert "rank 2" in page.run(f"{_chart('Spectrum')}.parentNode.querySelector('.tip').innerText")
    before = _ticks(page, "Spectrum")
    page.press("+")
    assert _ticks(page, "Spectrum") != before
    page.press("Escape")
    assert _ticks(page, "Spectrum") == before


def test_tables_can_be_searched_and_sorted(page: Page, data: Any) -> None:
    names = [printable(table["name"]) for table in data["stats"]["tables"]]
    assert _rows(page, 0) == names
    page.run("[...document.querySelectorAll('#overview th button')].find((b) => b.textContent === 'rows').click()")
    assert [_read(text) for text in _rows(page, 1)] == [600, 300, 50, 40]
    page.run("[...document.querySelectorAll('#overview th button')].find((b) => b.textContent === 'rows').click()")
    assert [_read(text) for text in _rows(page, 1)] == [40, 50, 300, 600]
    assert (
        page.run(
            "document.querySelector('#overview table[aria-label=Tables] th:nth-child(2)').getAttribute('aria-sort')"
        )
        == "ascending"
    )
    page.press("/")
    page.press(*"SCRIPT")
    assert _rows(page, 0) == [printable(HOSTILE)]
    assert page.run("[...document.querySelectorAll('.table-card')].filter((e) => e.offsetParent).length") == 1
    assert page.run("document.querySelector('.search [role=status]').textContent") == "1 of 4"


@pytest.mark.parametrize("width", [320, 375, 768, 1920])
def test_nothing_scrolls_sideways(page: Page, width: int) -> None:
    page.size(width)
    page.run("document.querySelectorAll('details:not([open]) > summary').forEach((each) => each.click())")
    page.settle()
    assert page.run("document.scrollingElement.scrollWidth") <= width
    outside = page.run(
        "[...document.querySelectorAll('main *, nav *, .top *')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('svg')).length"
    )
    assert outside == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_both_themes(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    is_dark = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 60)")
    assert is_dark is (scheme == "dark")
    for place in (".card", "dt", ".note", ".facts", ".finding .severity", "nav a", ".list a", ".kind", ".badge"):
        assert _contrast(page, place) >= 4.5, place


def test_the_theme_can_be_chosen(page: Page) -> None:
    page.emulate(scheme="dark")
    page.run("document.querySelector('.theme').click()")
    assert page.run("document.documentElement.dataset.theme") == "light"
    assert page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part > 200)")


def test_paper_holds_every_card(page: Page) -> None:
    page.press("/")
    page.press(*"nothing")
    page.size(703)
    page.emulate(media="print", scheme="dark")
    assert page.run("[...document.querySelectorAll('.table-card')].filter((e) => e.offsetParent).length") == 4
    assert page.run("document.scrollingElement.scrollWidth") <= 703
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    pdf = page.pdf()
    width, height = map(float, re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf).groups())
    assert (width, height) == pytest.approx((595, 842), abs=1)
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 4


def _ticks(page: Page, title: str) -> list[str]:
    return page.run(f"[...{_chart(title)}.querySelectorAll('.tick')].map((e) => e.textContent)")


def _to(page: Page, title: str) -> dict[str, float]:
    """Scroll to a chart; where it is then."""
    page.run(
        f"document.documentElement.style.scrollBehavior = 'auto'; {_chart(title)}.scrollIntoView({{ block: 'center' }})"
    )
    page.settle()
    return page.run(f"(({{ x, y }}) => ({{ x, y }}))({_chart(title)}.getBoundingClientRect())")


def _contrast(page: Page, place: str) -> float:
    """Of the text of an element and what is behind it, as WCAG 2.1 defines it."""
    colors = page.run(
        f"(() => {{ const e = document.querySelector({json.dumps(place)}); let b = e; const clear = 'rgba(0, 0, 0, 0)';"
        "while (getComputedStyle(b).backgroundColor === clear) b = b.parentElement;"
        "return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]"
        ".map((color) => color.match(/[\\d.]+/g).map(Number)) })()"
    )
    lights = sorted(_luminance(color[:3]) for color in colors)
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: list[float]) -> float:
    parts = [part / 255 for part in color]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
