"""The report page in a real browser: every control does what it says, and nothing is fetched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_arrays import COPIES, IMAGES, SIDE, SIGNS, write_arrays
from made_cells import (
    ATTACKED_INDICES,
    CELLS,
    FIRST_SEED,
    MODELS,
    STRESSED_INDICES,
    SUITE,
    change_dataset,
    change_result,
    confusion_of,
    write_study,
)

from robustness_study.core.array_text import from_text
from robustness_study.core.files import read_record
from stages import report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READY = "Promise.all([page.drawn, page.explored, page.planed]).then(() => null)"
SCRIPT = "<script>alert(1)</script>"
CLASSES = [SCRIPT, "dog & co"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("page")
        patch.chdir(folder)
        write_study()
        write_arrays()
        for cell in CELLS:
            change_dataset(cell, classes=CLASSES)
        change_result(CELLS[0], "attack.json", alarms={"pgd_leaves_some": f"the reason {SCRIPT}"})
        report.main()
        yield folder / "reports/report.html"


class Watched:
    """A page, what its scripts complained about, and what it asked for."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | settings)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.evaluate(READY)

    def choose(self, selector: str, value: str) -> None:
        self.tab.locator(selector).select_option(value)
        self.tab.wait_for_timeout(150)

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).inner_text())

    def rows(self, selector: str) -> list[list[str]]:
        """The texts of a table's body."""
        script = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        found: list[list[str]] = self.tab.locator(selector).evaluate(script)
        return found

    def pixels(self, selector: str) -> np.ndarray:
        """The colours of a canvas, uint8 S×S×3."""
        script = """canvas => {
            const other = new OffscreenCanvas(canvas.width, canvas.height);
            const copy = other.getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            return [...copy.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
        values = np.array(self.tab.locator(selector).evaluate(script), dtype=np.uint8)
        return values.reshape(SIDE, SIDE, 4)[:, :, :3]


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Watched]:
    found = Watched(browser, path)
    yield found
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    found.tab.close()


def index_of(page: Watched) -> int:
    """The index of the test image that the explorer shows."""
    return int(page.text("#x-said caption").split(",")[0].removeprefix("test image "))


def test_names_are_shown_as_they_are(page: Watched) -> None:
    assert SCRIPT in page.text("#p-legend") and SCRIPT in page.tab.locator("#confusion").inner_text()
    assert SCRIPT in page.tab.locator("#x-class").inner_text()
    page.tab.locator(".alarm summary").click()
    assert f"the reason {SCRIPT}" in page.text(".alarm")


@pytest.mark.parametrize("name", ["comparison", "ladder", "severity", "calibration", "curves"])
def test_each_choice_of_a_chart_draws_another_chart(page: Watched, name: str) -> None:
    choices = page.tab.locator(f'select[data-chart="{name}"] option').all_inner_texts()
    drawn = []
    for choice in choices:
        page.choose(f'select[data-chart="{name}"]', choice)
        page.tab.wait_for_function(f"document.querySelector('#chart-{name} svg.marks') !== null")
        drawn.append(page.tab.locator(f"#chart-{name} svg.marks").inner_html())
    assert len(choices) >= 2 and len(set(drawn)) >= len(drawn) // 2 and all("path" in each for each in drawn)
    assert all(model in drawn[0] for model in MODELS)


def test_pointing_at_a_bar_shows_mean_interval_and_seeds(page: Watched) -> None:
    page.tab.locator("#chart-comparison").scroll_into_view_if_needed()
    page.tab.locator("#chart-comparison path[aria-roledescription=bar]").first.hover(position={"x": 10, "y": 60})
    page.tab.wait_for_selector("#vg-tooltip-element.visible")
    shown = page.text("#vg-tooltip-element")
    assert MODELS[0] in shown and " to " in shown and "seeds" in shown


def test_heat_map_of_one_model_and_of_a_difference(page: Watched) -> None:
    first = page.rows("#heat")
    assert [row[0] for row in first] == [name.replace("_", " ") for name in SUITE]
    page.choose("#heat-minus", MODELS[0])
    assert {value for row in page.rows("#heat") for value in row[1:]} == {"0.0"}
    page.choose("#heat-model", MODELS[1])
    page.choose("#heat-minus", "")
    other = page.rows("#heat")
    page.choose("#heat-minus", MODELS[0])
    for row, one, two in zip(page.rows("#heat"), other, first, strict=True):
        for points, a, b in zip(row[1:], one[1:], two[1:], strict=True):
            assert float(points.replace("−", "-")) == pytest.approx(100 * (float(a) - float(b)), abs=0.15)


def test_cell_of_the_heat_map_opens_the_images(page: Watched) -> None:
    row = page.tab.locator("#heat tbody tr").nth(1)
    assert row.locator("button").count() == 3 and row.locator("td").count() == 6  # of severities 1, 3 and 5
    row.locator("button").nth(2).click()
    page.tab.wait_for_function("document.getElementById('x-corruption').value === 'gaussian_noise'")
    page.tab.wait_for_timeout(200)
    assert page.tab.locator("#x-severity").input_value() == "5"
    assert page.text("#x-changed-caption") == "gaussian noise, severity 5"


def test_explorer_shows_the_image_the_change_and_what_models_say(page: Watched) -> None:
    stress = [read_record(cell.published("stress.json"))["predictions"] for cell in FIRST_SEED]
    evaluate = [read_record(cell.published("evaluate.json"))["details"]["test_clean"] for cell in FIRST_SEED]
    page.choose("#x-corruption", "saturate")
    page.choose("#x-severity", "3")
    for _ in range(3):
        index = index_of(page)
        in_suite = np.searchsorted(STRESSED_INDICES, index)
        np.testing.assert_array_equal(page.pixels("#x-clean"), IMAGES[index])
        changed = page.pixels("#x-changed").astype(float)
        assert np.abs(changed - COPIES["saturate"][2][in_suite]).mean() < 10
        expected = 128 + 4 * (changed - IMAGES[index])
        np.testing.assert_array_equal(page.pixels("#x-difference"), np.clip(expected, 0, 255))
        for row, of_stress, of_clean in zip(page.rows("#x-said"), stress, evaluate, strict=True):
            said = from_text(of_clean["predictions"])[index], from_text(of_stress["saturate"][2])[in_suite]
            assert [cell.split(" (")[0].strip("✓✗ \n") for cell in row[1:]] == [CLASSES[each] for each in said]
        page.tab.locator("#x-next").click()
        page.tab.wait_for_timeout(100)
        assert index_of(page) != index


def test_explorer_shows_attacked_images(page: Watched) -> None:
    page.choose("#x-kind", "attack")
    assert page.tab.locator("#x-corruption").is_hidden() and page.tab.locator("#x-epsilon").is_visible()
    for position, cell in enumerate(FIRST_SEED):
        page.choose("#x-through", MODELS[position])
        page.choose("#x-epsilon", "8")
        index = index_of(page)
        signs = SIGNS[cell][np.searchsorted(ATTACKED_INDICES, index)].transpose(1, 2, 0)
        expected = np.clip(IMAGES[index].astype(int) + 8 * signs.astype(int), 0, 255)
        np.testing.assert_array_equal(page.pixels("#x-changed"), expected)
        attack = read_record(cell.published("attack.json"))["attacks"]["fgsm"]["predictions"]["8"]
        said = from_text(attack)[np.searchsorted(ATTACKED_INDICES, index)]
        assert CLASSES[said] in page.rows("#x-said")[position][2]


def test_filters_leave_the_images_that_they_name(page: Watched) -> None:
    everything = page.tab.locator("#x-strip button").count()
    page.choose("#x-class", "1")
    of_class = page.tab.locator("#x-strip button").count()
    assert 0 < of_class < everything
    page.choose("#x-class", "")
    page.choose("#x-filter", "broken")
    for button in page.tab.locator("#x-strip button").all():
        button.click()
        page.tab.wait_for_timeout(60)
        rows = page.rows("#x-said")
        assert any(row[1].startswith("✓") and row[2].startswith("✗") for row in rows)
    page.choose("#x-filter", "disagree")
    assert page.tab.locator("#x-strip button").count() < everything
    assert len({row[2].split(" (")[0] for row in page.rows("#x-said")}) > 1
    page.choose("#x-filter", "wrong")
    common = np.intersect1d(STRESSED_INDICES, ATTACKED_INDICES)
    for model, cell in enumerate(FIRST_SEED):
        page.choose("#x-by", str(model))
        of_clean = read_record(cell.published("evaluate.json"))["details"]["test_clean"]
        wrong = int((from_text(of_clean["predictions"])[common] != common % 2).sum())
        assert page.tab.locator("#x-strip button").count() == wrong
        assert (page.text("#x-place") == "no image fits the filter") == (page.text("#x-said") == "") == (wrong == 0)


def test_of_quick_changes_the_last_one_stays(page: Watched) -> None:
    script = """async () => {
        const change = (id, value) => {
            const select = document.getElementById(id) ?? document.querySelector(`select[data-chart="${id}"]`);
            select.value = value;
            select.dispatchEvent(new Event("change"));
        };
        for (const value of ["fog", "saturate", "gaussian_noise", "fog", "saturate"]) change("x-corruption", value);
        change("x-filter", "broken");
        for (const model of [1, 2, 3, 1, 2]) document.getElementById("p-model").selectedIndex = model,
            change("p-model", document.getElementById("p-model").value);
        const chart = document.querySelector('select[data-chart="comparison"]');
        for (const option of [1, 2, 3, 0]) chart.selectedIndex = option, change("comparison", chart.value);
    }"""
    page.tab.wait_for_timeout(300)
    before = page.tab.locator("#chart-comparison svg.marks").inner_html()
    page.choose(
        'select[data-chart="comparison"]',
        page.tab.locator('select[data-chart="comparison"] option').nth(0).inner_text(),
    )
    first = page.tab.locator("#chart-comparison svg.marks").inner_html()
    page.tab.evaluate(script)
    page.tab.wait_for_timeout(1500)
    assert page.text("#x-changed-caption").startswith("saturate")
    stress = [read_record(cell.published("stress.json"))["predictions"]["saturate"][1 + 1] for cell in FIRST_SEED]
    evaluate = [read_record(cell.published("evaluate.json"))["details"]["test_clean"] for cell in FIRST_SEED]
    common = np.intersect1d(STRESSED_INDICES, ATTACKED_INDICES)
    broken = np.zeros(len(common), bool)
    for of_stress, of_clean in zip(stress, evaluate, strict=True):
        said = from_text(of_stress)[np.searchsorted(STRESSED_INDICES, common)]
        broken |= (from_text(of_clean["predictions"])[common] == common % 2) & (said != common % 2)
    assert 0 < page.tab.locator("#x-strip button").count() == broken.sum() < len(common)
    assert page.tab.locator("#chart-comparison svg.marks").inner_html() == first != before
    one_change = page.tab.locator("#p-canvas").evaluate("c => c.toDataURL()")
    page.choose("#p-model", MODELS[0])
    page.choose("#p-model", MODELS[2])
    assert page.tab.locator("#p-canvas").evaluate("c => c.toDataURL()") == one_change


def test_confusion_of_each_model_and_set(page: Watched) -> None:
    for model, (of, name) in product(MODELS, (("clean", "test_clean"), ("corrupted", "test_corrupted"))):
        page.choose("#c-model", model)
        page.choose("#c-of", of)
        counts = np.sum(
            [confusion_of(cell, name) for cell in CELLS if f"{cell.loss}, {cell.train_set}" == model], axis=0
        )
        for row, of_class in zip(page.rows("#confusion"), counts, strict=True):
            assert [float(share) for share in row[1:]] == pytest.approx(100 * of_class / of_class.sum(), abs=0.06)


def test_difference_is_magnified_as_chosen(page: Watched) -> None:
    page.choose("#x-kind", "attack")
    page.choose("#x-epsilon", "1")
    for factor in (1, 16):
        page.choose("#x-magnify", str(factor))
        change = page.pixels("#x-changed").astype(int) - page.pixels("#x-clean").astype(int)
        np.testing.assert_array_equal(page.pixels("#x-difference"), 128 + factor * change)
        assert page.text("#x-difference-caption") == f"difference × {factor} (grey: none)"


def test_keys_of_the_browser_are_not_taken(page: Watched) -> None:
    script = """() => ["x-next", "p-canvas"].map(id => ["altKey", "ctrlKey", "metaKey", "shiftKey"].map(key =>
        document.getElementById(id).dispatchEvent(
            new KeyboardEvent("keydown", { key: "ArrowLeft", [key]: true, bubbles: true, cancelable: true }))))"""
    assert page.tab.evaluate(script) == [[True] * 4] * 2  # false: somebody prevented what the browser does


def test_all_tables_are_printed(page: Watched) -> None:
    page.tab.emulate_media(media="print", color_scheme="dark")
    assert page.tab.locator("#table-suite_in_full table").is_visible()
    assert page.tab.locator("nav").is_hidden() and page.tab.locator(".controls").first.is_hidden()
    script = "getComputedStyle(document.querySelector('svg.marks text')).fill"
    assert page.tab.evaluate(script) == "rgb(0, 0, 0)"


def test_theme_changes_while_the_page_is_open(page: Watched) -> None:
    heat = "#heat tbody td >> nth=0"
    before = page.tab.locator(heat).get_attribute("style"), page.tab.locator("#chart-ladder svg.marks").inner_html()
    page.tab.emulate_media(color_scheme="dark")
    page.tab.wait_for_timeout(800)
    after = page.tab.locator(heat).get_attribute("style"), page.tab.locator("#chart-ladder svg.marks").inner_html()
    assert before[1] != after[1]


def test_numbers_in_coloured_cells_can_be_read(browser: Any, path: Path) -> None:
    script = """() => [...document.querySelectorAll(".heat tbody td")].map(cell => {
        const style = getComputedStyle(cell);
        return [style.backgroundColor, style.color];
    })"""
    for scheme, minus in product(("light", "dark"), ("", MODELS[1])):
        page = Watched(browser, path, color_scheme=scheme)
        page.choose("#heat-minus", minus)
        for colours in page.tab.evaluate(script):
            values = [[int(part) for part in re.findall(r"\d+", colour)[:3]] for colour in colours]
            low, high = sorted(luminance("#" + "".join(f"{part:02x}" for part in value)) for value in values)
            assert (high + 0.05) / (low + 0.05) >= 4.5, colours
        page.tab.close()


def test_keys_go_through_the_images(page: Watched) -> None:
    first = index_of(page)
    page.tab.locator("#x-next").focus()
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_timeout(100)
    assert index_of(page) != first
    page.tab.keyboard.press("ArrowLeft")
    page.tab.wait_for_timeout(100)
    assert index_of(page) == first
    page.tab.locator("#x-previous").click()
    page.tab.wait_for_timeout(100)
    last = index_of(page)
    assert page.tab.locator("#x-strip button[aria-current=true]").get_attribute("data-image") is not None
    assert page.text("#x-place").split(" of ")[0] == page.text("#x-place").split(" of ")[1] and last != first
    page.tab.locator("#x-strip button").nth(0).click()  # the focus follows the choice
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_timeout(100)
    focused = "[...document.querySelectorAll('#x-strip button')].indexOf(document.activeElement)"
    assert page.tab.evaluate(focused) == 1 and page.text("#x-place").startswith("2 of ")
    page.tab.locator("#p-canvas").focus()
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_timeout(100)
    assert page.text("#p-text").startswith(f"Test image {ATTACKED_INDICES[0]} ")


def test_plane_shows_the_image_under_the_pointer_and_other_states(page: Watched) -> None:
    shown = []
    for state in ("clean", "corrupted", "attacked"):
        page.choose("#p-state", state)
        shown.append(page.tab.locator("#p-canvas").evaluate("c => c.toDataURL()"))
    assert len(set(shown)) == 3
    page.tab.locator("#p-arrows").uncheck()
    page.tab.wait_for_timeout(100)
    assert page.tab.locator("#p-canvas").evaluate("c => c.toDataURL()") not in shown
    page.choose("#p-class", "0")
    page.tab.locator("#p-canvas").scroll_into_view_if_needed()
    box = page.tab.locator("#p-canvas").bounding_box()
    for x in np.linspace(0.02, 0.98, 60):  # somewhere there is a point
        for y in np.linspace(0.02, 0.98, 30):
            page.tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if page.text("#p-text").startswith("Test image"):
                assert SCRIPT in page.text("#p-text")
                return
    pytest.fail("no point was found")


def test_tables_are_sorted_and_saved(page: Watched, tmp_path: Path) -> None:
    page.tab.locator("#table-all_metrics summary").click()
    head = page.tab.locator("#table-all_metrics thead button").nth(1)
    for direction, largest_first in (("descending", True), ("ascending", False)):
        head.click()
        numbers = [float(row[1].split()[0]) for row in page.rows("#table-all_metrics table") if row[1]]
        assert numbers == sorted(numbers, reverse=largest_first)
        assert head.locator("xpath=..").get_attribute("aria-sort") == direction
    with page.tab.expect_download() as caught:
        page.tab.locator("#table-all_metrics button.csv").click()
    caught.value.save_as(tmp_path / "saved.csv")
    assert caught.value.suggested_filename == "all_metrics.csv"
    assert (tmp_path / "saved.csv").read_text(encoding="utf-8").startswith("metric,")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 800, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, path: Path, width: int, scheme: str) -> None:
    page = Watched(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    page.tab.close()


def test_texts_are_readable_in_both_themes(browser: Any, path: Path) -> None:
    """The contrast of the theme's colours is at least 4.5 to 1 (WCAG 2.1, level AA)."""
    script = """() => {
        const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(["paper", "raised", "ink", "quiet", "accent", "good", "bad", "neutral"]
            .map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    }"""
    for scheme in ("light", "dark"):
        page = Watched(browser, path, color_scheme=scheme)
        colours = {name: luminance(value) for name, value in page.tab.evaluate(script).items()}
        for name in ("ink", "quiet", "accent", "good", "bad", "neutral"):
            for ground in ("paper", "raised"):
                low, high = sorted([colours[name], colours[ground]])
                assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, name, ground)
        page.tab.close()


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_everything_has_a_name_for_a_screen_reader(page: Watched) -> None:
    script = """() => [...document.querySelectorAll("button, select, input, canvas[role], [role=img]")]
        .filter(node => !node.closest("details:not([open])") && !node.closest(".vega-embed"))
        .filter(node => !(node.getAttribute("aria-label") || node.innerText || node.labels?.length))
        .map(node => node.outerHTML.slice(0, 80))"""
    assert page.tab.evaluate(script) == []
    levels = page.tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(node => Number(node.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_page_without_scripts_still_has_verdicts_and_tables(browser: Any, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert "Charts and images need JavaScript" in tab.locator("noscript").inner_text()
    assert tab.locator("#verdicts tbody tr").count() >= 5 and tab.locator("#tables table").count() >= 10
    context.close()
