import dataclasses
import json
import re
from pathlib import Path

import pytest
from report_artifacts import DECIDED, PROBE, Artifacts

from kfp_vision.components.batch_size_probe import stage_report as batch_size
from kfp_vision.components.reporting.build import build_report
from kfp_vision.components.shared.artifacts.probe_result import NoiseScale, ProbeResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.report.page import render_page


def section(folder: Path) -> str:
    """Returns the text of the probe's section."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<section id="probe">.*?</section>', page, re.DOTALL)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<script.*?</script>|<[^>]+>", "", found[0]))


def test_every_measurement_has_its_chart() -> None:
    charts = batch_size.probe_charts(PROBE, DECIDED)
    assert [chart.title for chart in charts["batch_size"]] == [
        "Speed",
        "Time to the same loss",
        "Memory",
        "Gradient noise scale",
    ]
    assert [chart.title for chart in charts["learning_rate"]] == [
        "Range test",
        "Trials at constant rates",
    ]
    assert batch_size.probe_charts(ProbeResult(), Recipe()) == {
        "batch_size": [],
        "learning_rate": [],
    }


def test_the_chosen_batch_is_marked_where_it_was_measured() -> None:
    speed = batch_size.probe_charts(PROBE, DECIDED)["batch_size"][0]
    assert [(mark.position, mark.text) for mark in speed.markers] == [(50, "chosen")]
    chosen = {"batch_size": Setting(1000, "set by hand", source="user")}
    by_user = batch_size.probe_charts(PROBE, DECIDED.with_settings("training", chosen))
    assert by_user["batch_size"][0].markers == []


def test_the_noise_scale_breaks_where_it_is_not_determined() -> None:
    noise = batch_size.probe_charts(PROBE, DECIDED)["batch_size"][-1]
    assert [line["name"] for line in noise.lines] == [
        "Raw gradients",
        "Scaled by the optimizer",
        "Estimate",
    ]
    assert noise.lines[0]["path"].count("M") == 2
    # The estimate is of the last half of the trial.
    assert noise.data["lines"][2]["x"] == [5, 8]


def test_both_rates_of_the_range_test_are_marked() -> None:
    test = batch_size.probe_charts(PROBE, DECIDED)["learning_rate"][0]
    assert [mark.position for mark in test.markers] == pytest.approx([40, 80])


def test_only_the_best_trial_is_solid_and_a_short_one_has_diverged() -> None:
    trials = batch_size.probe_charts(PROBE, DECIDED)["learning_rate"][1]
    assert [(line["name"], line["style"]) for line in trials.lines] == [
        ("0.001459", "solid"),
        ("0.0007297", "faint"),
        ("0.002919", "faint"),
        ("0.1 (diverged)", "faint"),
    ]


def test_without_a_best_trial_none_is_faint() -> None:
    trials = batch_size.probe_charts(PROBE, Recipe())["learning_rate"][1]
    assert {line["style"] for line in trials.lines} == {"solid"}


def test_a_noise_scale_that_is_never_positive_has_no_chart() -> None:
    unknown = NoiseScale(None, 0.0, None, 0.0, 0.0, 0.0, 0.0)
    noise = dataclasses.replace(unknown, raw=[None, -4.0], scaled=[None, None])
    charts = batch_size.probe_charts(ProbeResult(noise_scale=noise), Recipe())
    assert charts["batch_size"] == []


def test_variants_stand_beside_the_plain_step() -> None:
    rows = batch_size.variant_rows(PROBE)
    assert [(row.batch_size, row.steps_per_call) for row in rows] == [(64, 8), (64, 1)]
    assert batch_size.variant_rows(dataclasses.replace(PROBE, variants=[])) == []


def test_what_training_changed_is_said(digits_run: Artifacts, tmp_path: Path) -> None:
    rows = batch_size.decided_settings(DECIDED)
    names = ["batch_size", "learning_rate", "epochs", "steps", "weight_decay", "clip_norm"]
    assert [row["name"] for row in rows] == names
    assert {row["interval"] for row in rows} == {"", "0.00146 to 0.00292"}
    repaired = {"batch_size": Setting(32, "repaired in training")}
    recipe = DECIDED.with_settings("training", repaired)
    folder = dataclasses.replace(digits_run, recipe=recipe).write(tmp_path)
    build_report(folder, tmp_path / "out")
    assert re.findall(r"training used \S+", section(tmp_path / "out")) == ["training used 32"]


@pytest.mark.parametrize("plan", [RunPlan(4.0, 60.0, 0.01, 10.0, {"train": 90.0}), None])
def test_a_probe_that_learns_nothing_says_what_its_time_is_for(plan: RunPlan | None) -> None:
    probe = ProbeResult(skipped="`learn_batch_size` is false", seconds=41.0)
    page = render_page("", {}, Recipe(), batch_size.probe_report(probe, Recipe(), plan).sections)
    assert ("step timed, in 41\N{NO-BREAK SPACE}s" in page) == (plan is not None)


@pytest.mark.parametrize(
    ("case", "sentences"),
    [
        (
            "plain",
            [
                "saw 11,840 images and took 24 s: 15 % of a plain training of 2 min 38 s.",
                "The gradient noise scale is 241 images (95&nbsp;% interval 130 to 448).",
                "the time for it was over after a batch of 128",
            ],
        ),
        (
            "probe skipped",
            [
                "Batch size and learning rate were not measured: learn_batch_size is false.",
                "learning_rate of the recipe that the run starts from (0.012) is not used.",
            ],
        ),
        (
            "probe undetermined",
            ["took 24 s.", "is at least 12 images;", "as the optimizer scales them"],
        ),
    ],
)
def test_the_section_says_what_was_found(
    case: str, sentences: list[str], reports: dict[str, Path]
) -> None:
    text = section(reports[case]).replace("\N{NO-BREAK SPACE}", " ")
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_report_json_holds_the_measurements_and_the_cost(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    build_report(digits_run.write(tmp_path), tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["probe"] == dataclasses.asdict(PROBE)
    assert [stage["name"] for stage in report["cost"]["stages"]][:6] == [
        "stage_dataset",
        "stage_profile",
        "stage_probe",
        "stage_augmentation",
        "stage_search",
        "stage_model",
    ]
