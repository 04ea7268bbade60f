"""The page in headless Chromium, with every host name unresolvable."""

import html
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_cases import CASES, HOSTILE
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(reports: dict[str, Path]) -> dict[str, str]:
    """Case -> address of its page."""
    return {name: (folder / "report.html").as_uri() for name, folder in reports.items()}


def show(browser: webdriver.Chrome, page: str, width: int = 1280, scheme: str = "light") -> None:
    """Opens a page at a width in CSS pixels and in a colour scheme."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page)


def click(browser: webdriver.Chrome, element: Any) -> None:
    """Clicks in the middle of the window, clear of the navigation."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def column(browser: webdriver.Chrome, table: Any, index: int) -> list[str]:
    """Returns the visible texts of a column."""
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    return [row.find_elements(By.TAG_NAME, "td")[index].text for row in rows]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("case", CASES)
def test_the_page_fits_the_screen(
    browser: webdriver.Chrome, pages: dict[str, str], case: str, width: int
) -> None:
    show(browser, pages[case], width)
    content, window = browser.execute_script(
        "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]"
    )
    assert content == window
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


# Words of which letters stand in several lines.
BROKEN_WORDS = """
const found = [];
for (const cell of document.querySelectorAll(".scroll :is(th, td)")) {
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const word of walker.currentNode.data.matchAll(/\\w+/g)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, word.index);
      range.setEnd(walker.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(each => each.top)).size > 1) found.push(word[0]);
    }
  }
}
return found;
"""


def test_a_table_that_is_wider_than_the_frame_is_scrolled_and_breaks_no_word(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    """The frame in which a Kubeflow Pipelines server shows a page is about as narrow."""
    show(browser, pages["plain"], 390)
    assert browser.execute_script(BROKEN_WORDS) == []


def test_nothing_is_loaded_but_the_file(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    browser.get_log("performance")
    show(browser, pages["plain"])
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert pages["plain"] in requested
    assert {url.split(":")[0] for url in requested} <= {"file", "data"}


def test_a_hostile_class_name_is_shown_and_never_run(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["hostile names"])
    assert browser.title != "owned"
    table = browser.find_element(By.CSS_SELECTOR, "#results [data-sortable]")
    assert column(browser, table, 0)[0] == HOSTILE


def test_the_policy_stops_a_script_that_is_not_ours(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["plain"])
    browser.execute_script(
        "const added = document.createElement('script');"
        "added.textContent = 'document.title = \"owned\"'; document.body.append(added);"
    )
    assert browser.title != "owned"


def test_a_table_is_sorted_by_number_both_ways(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["plain"])
    table = browser.find_element(By.CSS_SELECTOR, "#results [data-sortable]")
    recall = table.find_elements(By.CSS_SELECTOR, "th button")[3]
    for descending in (True, False):
        click(browser, recall)
        shown = [float(text) for text in column(browser, table, 3)]
        assert shown == sorted(shown, reverse=descending)


def test_a_long_table_is_cut_filtered_and_shown_whole(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["1000 classes"])
    table = browser.find_element(By.CSS_SELECTOR, "#results [data-sortable]")
    assert len(column(browser, table, 0)) == 15
    find = browser.find_element(By.CSS_SELECTOR, "#results .filter")
    find.send_keys("0777")
    assert column(browser, table, 0) == ["class 0777"]
    find.send_keys(Keys.BACKSPACE * 4)
    click(browser, browser.find_element(By.CSS_SELECTOR, "#results .more"))
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    assert len(rows) == 1000


def test_a_chart_reads_out_and_hides_lines(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["plain"])
    chart = browser.find_element(By.CSS_SELECTOR, "#training [data-chart]")
    plot = chart.find_element(By.CLASS_NAME, "plot")

    def read(_: webdriver.Chrome) -> list[str]:
        webdriver.ActionChains(browser).move_by_offset(1, 0).move_to_element(plot).perform()
        text = browser.find_element(By.ID, "readout").text
        return [line.split(" ")[0] for line in text.splitlines()]

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    # A scroll closes the readout, and Chromium reports the scroll a frame later.
    assert WebDriverWait(browser, 5).until(read) == ["Step", "Train:", "Validation:"]
    click(browser, chart.find_element(By.CSS_SELECTOR, ".legend button"))
    assert WebDriverWait(browser, 5).until(read) == ["Step", "Validation:"]


def test_a_logarithmic_axis_reads_out_the_nearest_point(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["plain"])
    plot = browser.find_element(By.CSS_SELECTOR, "#probe [data-chart] .plot")
    # Below the middle of 32 and 64 by ratio, but nearer to 64 if the axis were linear.
    left = round(-0.28 * plot.size["width"])

    def read(_: webdriver.Chrome) -> str:
        actions = webdriver.ActionChains(browser)
        actions.move_to_element_with_offset(plot, left + 1, 0)
        actions.move_to_element_with_offset(plot, left, 0).perform()
        return browser.find_element(By.ID, "readout").text

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    assert WebDriverWait(browser, 5).until(read).splitlines() == [
        "Batch size 32",
        "Images/s: 960.9",
    ]


def test_one_class_is_picked_among_the_curves(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    show(browser, pages["plain"])
    chart = browser.find_element(By.CSS_SELECTOR, "#results [data-chart]")
    Select(chart.find_element(By.TAG_NAME, "select")).select_by_visible_text("7")
    picked = chart.find_elements(By.CSS_SELECTOR, "path.picked")
    assert [path.get_attribute("data-line") for path in picked] == ["7"]


def test_an_image_enlarges(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    show(browser, pages["plain"], 390)
    click(browser, browser.find_element(By.CSS_SELECTOR, ".cards .thumb"))
    dialog = browser.find_element(By.ID, "enlarged")
    assert dialog.is_displayed()
    click(browser, dialog.find_element(By.TAG_NAME, "button"))
    assert not dialog.is_displayed()


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_text_contrasts_in_both_colour_schemes(
    browser: webdriver.Chrome, pages: dict[str, str], scheme: str, is_dark: bool
) -> None:
    show(browser, pages["plain"], scheme=scheme)
    colours = browser.execute_script(
        "const rgb = (style) => style.match(/\\d+/g).slice(0, 3).map(Number);"
        "const root = getComputedStyle(document.documentElement);"
        "const soft = getComputedStyle(document.querySelector('.source'));"
        "return [root.backgroundColor, root.color, soft.color].map(rgb);"
    )
    paper, ink, soft = map(luminance, colours)
    assert (paper < 0.1) == is_dark
    assert contrast(paper, ink) > 7
    assert contrast(paper, soft) > 4.5


def luminance(rgb: list[int]) -> float:
    """Returns the relative luminance (WCAG 2.2) of an sRGB colour."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in rgb)
    ]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(first: float, second: float) -> float:
    """Returns the contrast ratio (WCAG 2.2) of two luminances."""
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


@pytest.fixture
def framed(browser: webdriver.Chrome, reports: dict[str, Path], tmp_path: Path) -> None:
    """Opens the report as the page of a KFP 2.17 server does: in a sandbox, 600 pixels high.

    Source: `frontend/src/components/viewers/HTMLViewer.tsx` of kubeflow/pipelines.
    """
    content = html.escape((reports["plain"] / "report.html").read_text(encoding="utf-8"))
    page = tmp_path / "server.html"
    page.write_text(
        "<!doctype html><meta charset=utf-8><title>server</title>"
        f'<iframe sandbox="allow-scripts" style="width:100%;height:600px" srcdoc="{content}">'
    )
    show(browser, page.as_uri())
    browser.switch_to.frame(0)


def is_in_view(browser: webdriver.Chrome, section: str) -> bool:
    """Returns whether a section begins at the top, or the page ends with it."""
    return bool(
        browser.execute_script(
            "const top = document.getElementById(arguments[0]).getBoundingClientRect().top;"
            "const root = document.documentElement;"
            "return Math.abs(top) < 120 || scrollY + innerHeight > root.scrollHeight - 2",
            section,
        )
    )


def test_the_page_works_in_the_sandbox_of_a_server(browser: webdriver.Chrome, framed: None) -> None:
    browser.get_log("browser")
    table = browser.find_element(By.CSS_SELECTOR, "#results [data-sortable]")
    click(browser, table.find_elements(By.CSS_SELECTOR, "th button")[3])
    shown = [float(text) for text in column(browser, table, 3)]
    assert shown == sorted(shown, reverse=True)
    click(browser, browser.find_element(By.CSS_SELECTOR, ".cards .thumb"))
    dialog = browser.find_element(By.ID, "enlarged")
    assert dialog.is_displayed()
    click(browser, dialog.find_element(By.TAG_NAME, "button"))
    assert not dialog.is_displayed()
    # A link to a section must not load the page around the frame into it.
    for link in browser.find_elements(By.CSS_SELECTOR, "a[href^='#']"):
        target = (link.get_attribute("href") or "").partition("#")[2]
        click(browser, link)
        WebDriverWait(browser, 5).until(lambda held: is_in_view(held, target), target)  # noqa: B023
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_the_page_can_be_read_without_a_script(
    browser: webdriver.Chrome, pages: dict[str, str]
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, pages["plain"])
        chart = browser.find_element(By.CSS_SELECTOR, "#training [data-chart] path")
        assert chart.size["width"] > 200
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_page_names_itself(browser: webdriver.Chrome, pages: dict[str, str]) -> None:
    show(browser, pages["plain"])
    assert browser.title == "real images: kfp-vision report"
    assert browser.find_element(By.TAG_NAME, "h1").text == "real images"
    assert Path(browser.current_url).name == "report.html"
