"""A whole run on a real server: its results, its cost, and the same run again from the cache."""

import os
import shutil
from urllib.parse import urlencode

import pytest
from kfp_backend import Backend, metrics
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import kfp_vision

pytestmark = pytest.mark.e2e
CHROMIUM, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
NEVER_CACHED = {"list-sources", "publish"}


def test_the_test_metrics_are_those_of_a_run_on_this_machine(finished, on_this_machine):
    here, there = on_this_machine(0), finished.report()
    assert there["status"] == here["status"] == "passed"
    assert metrics(there) == metrics(here)


def test_it_takes_at_most_12_tasks_of_two_pods(backend: Backend, finished):
    stages = finished.run.workflow.stages
    assert 0 < len(stages) <= 12
    assert all(stage.state == "done" for stage in stages)
    assert backend.measure(finished.run).pods == 1 + 2 * len(stages)


@pytest.fixture(scope="module")
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def shows_the_report(browser, page: str) -> bool:
    browser.get(page)
    WebDriverWait(browser, 30).until(lambda each: each.find_elements(By.ID, "verdict"))
    return "digit 0" in browser.find_element(By.TAG_NAME, "body").text


def test_the_fetched_report_opens_in_a_browser(finished, browser):
    assert shows_the_report(browser, (finished.output / "report.html").as_uri())


def test_the_server_hands_the_report_to_a_browser(backend: Backend, finished, browser):
    """The UI shows an artifact by this address, in a frame."""
    ui = os.environ.get("KFP_UI")
    if not ui:
        pytest.skip("needs the UI of the server: set KFP_UI")
    uri = finished.artifacts()["report"]
    source, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    query = urlencode({"source": source, "bucket": bucket, "key": f"{key}/report.html"})
    assert shows_the_report(browser, f"{ui}/artifacts/get?{query}")


def test_the_same_run_again_comes_from_the_cache(finished, small_run):
    again = small_run(0, "plain")
    outcomes = {stage.name: stage.state for stage in again.run.workflow.stages}
    assert outcomes.keys() == {stage.name for stage in finished.run.workflow.stages}
    assert {name for name, state in outcomes.items() if state != "cached"} <= NEVER_CACHED
    assert metrics(again.report()) == metrics(finished.report())


def test_a_status_says_what_a_run_has_done(backend: Backend, finished):
    answer = backend.call("status", finished.run.run_id)
    assert answer.returncode == 0
    assert "train-model" in answer.stdout
    assert finished.run.output_uri in answer.stdout


def test_the_models_that_are_fetched_predict(finished, digits):
    table = kfp_vision.Model(finished.output / "model" / "model.onnx").predict(digits / "digit 0")
    assert table.column("predicted").to_pylist().count("digit 0") > 50
