import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_artifacts import DECIDED, Artifacts
from search_artifacts import POLICY, SEARCH, TABLE, examples

from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.reporting.build import build_report
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, SearchResult, Step
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import RECIPE, render_page
from kfp_vision.components.shared.report.policy_words import policy_words
from kfp_vision.components.shared.report.records import (
    STAGE_REPORT_FILE,
    STAGES_FILE,
    StageReport,
    Stages,
)
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.trial_search import report_transforms as search
from kfp_vision.components.trial_search import report_trials as trials
from kfp_vision.components.trial_search.search import Inputs, search_trials

IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)


def section(folder: Path) -> str:
    """Returns the text of the search's section."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<section id="search">.*?</section>', page, re.DOTALL)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<script.*?</script>|<[^>]+>", "", found[0]))


def test_every_trial_is_a_dot_in_the_column_of_its_round() -> None:
    drawn = trials.trial_chart(SEARCH)
    assert drawn
    columns = [ROUNDS.index(trial.round) for trial in SEARCH.trials]
    assert [int(dot["x"] // (100 / len(ROUNDS))) for dot in drawn.dots] == columns
    # Against the baseline of the same seed; what failed stands at the top.
    order = sorted(range(len(columns)), key=lambda index: drawn.dots[index]["y"])
    baseline = {0: 1.132, 1: 1.14, 2: 1.126, 3: 1.143}
    losses = [
        (trial.loss or np.inf) - baseline[trial.seed]
        for trial in (SEARCH.trials[index] for index in order)
    ]
    assert losses == sorted(losses)
    heights = [dot["y"] for dot in drawn.dots if dot["kind"] == "baseline"]
    assert heights == pytest.approx([drawn.baseline] * 4)
    assert [dot["text"] for dot in drawn.dots if dot["kind"] == "failed"] == [
        "Screening, seed 0\nCutMix\nthe held-out loss is not finite"
    ]


def test_the_way_to_the_best_candidate_stands_out() -> None:
    drawn = trials.trial_chart(SEARCH)
    assert drawn
    words = [dot["text"].splitlines()[1] for dot in drawn.dots if dot["kind"] == "chosen"]
    best = "Geometry 2 of 2 + Label smoothing 1 of 2 + Shift"
    assert words == ["Geometry 2 of 2", "Geometry 2 of 2 + Shift", *[best] * 4]


def test_a_diverged_trial_does_not_flatten_the_others() -> None:
    wild = dataclasses.replace(SEARCH.trials[4], losses=(40.0,))
    drawn = trials.trial_chart(dataclasses.replace(SEARCH, trials=[*SEARCH.trials, wild]))
    assert drawn
    assert [dot["y"] for dot in drawn.dots if dot["text"].endswith("\n40 nats")] == [100]
    assert drawn.baseline == pytest.approx(50)


def test_without_a_finished_trial_there_is_no_chart() -> None:
    failed = [dataclasses.replace(trial, losses=(), error="no") for trial in SEARCH.trials]
    assert trials.trial_chart(dataclasses.replace(SEARCH, trials=failed)) is None
    assert trials.trial_chart(SearchResult()) is None


def test_each_bar_begins_where_the_last_one_ends() -> None:
    gains = trials.gain_bars(SEARCH, TABLE.regularisers)
    assert gains
    *steps, total = gains.rows
    ends = [row["left"] + row["width"] for row in steps]
    assert [row["left"] for row in steps] == pytest.approx([steps[0]["left"], *ends[:-1]])
    nats = (ends[-1] - steps[0]["left"]) / sum(row["gain"] for row in steps)
    assert total["width"] == pytest.approx(nats * 0.4044)
    assert total["whisker"] == pytest.approx(
        [total["left"] + nats * (0.4044 - 2 * 0.0339), nats * 4 * 0.0339]
    )
    assert all(0 <= row["whisker"][0] <= sum(row["whisker"]) <= 100.001 for row in gains.rows)
    assert steps[2]["level"] == "0.0 instead of 0.1"


def test_a_step_that_was_not_tried_by_itself_has_no_bar_and_one_that_does_harm_goes_back() -> None:
    steps = [
        Step("geometry", 0, 0.3, 0.05),
        Step("shift", 0),
        Step("without rotate", 0, -0.1, 0.05),
    ]
    gains = trials.gain_bars(dataclasses.replace(SEARCH, steps=steps), {})
    assert gains
    assert [row["kind"] for row in gains.rows] == ["gain", "unknown", "loss", "total"]
    assert gains.rows[1]["width"] == gains.rows[1]["whisker"][1] == 0
    assert gains.rows[2]["left"] == pytest.approx(gains.rows[0]["width"] * 2 / 3)
    assert trials.gain_bars(SearchResult(), {}) is None


def test_what_is_refused_comes_last_and_what_is_on_or_off_has_one_picture() -> None:
    rows = search.transform_rows(TABLE, examples(IMAGE), POLICY)
    assert [row["name"] for row in rows] == ["rotate", "blur", "horizontal_flip"]
    assert [len(row["pictures"]) for row in rows] == [6, 6, 1]
    assert [row["used"] for row in rows] == [True, False, False]
    kept = [picture["kept"] for picture in rows[0]["pictures"]]
    assert kept == [True, True, True, False, False, False]
    # At its strongest level blur was measured: nothing is interpolated.
    assert rows[1]["figures"] == "distance 0.47, affinity 0.98"
    assert rows[2]["figures"] == "distance 0.062, affinity 0.45"


def test_the_policy_is_said_in_words() -> None:
    mirror = {"transform": "horizontal_flip", "low": 0.5, "high": 0.5, "probability": 1.0}
    policy = {**POLICY.value("augmentation", "policy"), "always": [mirror]}
    words = [each.replace("\N{NO-BREAK SPACE}", " ") for each in policy_words(policy)]
    assert words == [
        "Every image: horizontal flip (with probability 0.5).",
        "70 % of the images: one of rotate up to 0.29.",
        "CutMix: 50 % of the images.",
    ]
    assert policy_words(None) == policy_words("none") == policy_words({"branches": []}) == []


@pytest.mark.parametrize("name", ["policy", "default_policy"])
def test_the_recipe_says_every_policy_in_words(name: str) -> None:
    value = flip_and_crop().to_json()
    recipe = Recipe().with_settings("augmentation", {name: Setting(value, "test")})
    page = render_page("", {}, recipe, [RECIPE])
    words = "horizontal flip (with probability 0.5), translate x up to 0.25, translate y up to 0.25"
    assert f"Every image: {words}." in page
    assert "Probability:" not in page


@pytest.mark.parametrize(
    ("draws", "words"),
    [((4, 4), "4 times"), ((1, 3), "1 to 3 times"), ((0, 1), "0 to 1 times")],
)
def test_several_operations_an_image_are_said_in_words(draws: tuple[int, int], words: str) -> None:
    policy = {**POLICY.value("augmentation", "policy"), "draws": draws}
    said = policy_words(policy)[1].replace("\N{NO-BREAK SPACE}", " ")
    assert said == f"Every image, {words} with a probability of 70 %: one of rotate up to 0.29."


def test_the_cost_is_in_baseline_trainings() -> None:
    assert search.baseline_images(DECIDED) == 2812 * 64
    assert search.baseline_images(Recipe()) is None


@pytest.mark.parametrize(
    ("case", "sentences"),
    [
        (
            "plain",
            [
                "Augmentation The best of 14 trials lowers the loss of 300 held-out images that",
                "1 of 14 trials ran out of memory",
                "The search saw 2,000 images: 0.01 baseline trainings of 179,968 each.",
                "Horizontal flip refused",
            ],
        ),
        ("search skipped", ["No policy was searched: search_augmentation is false."]),
        ("search found nothing", ["nothing changes.", "failed", "All 5 trials"]),
    ],
)
def test_the_section_says_what_was_found(
    case: str, sentences: list[str], reports: dict[str, Path]
) -> None:
    text = section(reports[case]).replace("\N{NO-BREAK SPACE}", " ")
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_a_skipped_search_is_one_sentence(reports: dict[str, Path]) -> None:
    assert len(section(reports["search skipped"])) < 100


@pytest.mark.parametrize("method", ["flips and shifts, as every training of 20 epochs", ""])
def test_a_policy_without_a_search_is_said_as_the_recipe_has_it(
    method: str, digits_run: Artifacts, tmp_path: Path
) -> None:
    skipped = "36 images are too few"
    held = {"default_policy": Setting(POLICY.value("augmentation", "policy"), method)}
    run = dataclasses.replace(
        digits_run,
        augmentation=AugmentationTable(skipped=skipped),
        search=SearchResult(skipped=skipped),
        recipe=Recipe(digits_run.recipe.sections | {"augmentation": held if method else {}}),
    )
    build_report(run.write(tmp_path), tmp_path / "out")
    text = section(tmp_path / "out")
    assert f"No policy was searched: {skipped}." in text
    assert (f"The training has {method}." in text) == bool(method)
    # Not every choice of the network has tried them.
    assert "what a trial showed" not in text


@pytest.mark.slow
def test_what_the_stages_write_is_shown(
    digits_run: Artifacts, digits_dir: Path, tmp_path: Path
) -> None:
    recipe_path, checkpoints = tmp_path / "in.json", tmp_path / "checkpoints"
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = Recipe().with_settings("data", data)
    write_recipe(complete_recipe(recipe, info, UserChoices(epochs=80)), recipe_path)
    table, chosen = tmp_path / "table", tmp_path / "chosen"
    search_augmentation(digits_dir, recipe_path, table, checkpoints, search=True, seed=0)
    inputs = Inputs(digits_dir, recipe_path, table)
    found = search_trials(inputs, [], chosen, checkpoints, 0)
    told = {
        name: read_json(StageReport, folder / STAGE_REPORT_FILE)
        for name, folder in (("augmentation", table), ("search", chosen))
    }
    records = [
        dataclasses.replace(each, report=told.get(each.artifact, each.report))
        for each in digits_run.records()
    ]
    folder = digits_run.write(tmp_path / "run")
    write_json(Stages(records), folder / STAGES_FILE)
    write_recipe(read_recipe(chosen / "recipe.json"), folder / "recipe.json")
    report = build_report(folder, tmp_path / "out")
    assert json.loads(json.dumps(dataclasses.asdict(found))) == report["search"]
    assert AugmentationTable(**report["augmentation"]).kept
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert found.decision in section(tmp_path / "out")
    dots = len(re.findall(r'<i class="trial \w+" tabindex', page))
    assert dots == len(found.trials) > 0
