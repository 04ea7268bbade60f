import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_artifacts import Artifacts
from report_cases import CASES, LONG, many_classes

from kfp_vision.components.reporting.build import build_report
from kfp_vision.components.reporting.report_json import total_cost
from kfp_vision.components.reporting.summary import markdown_summary
from kfp_vision.components.shared.artifacts.evaluation_result import Export, PositiveClass
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.thumbnails import thumbnail
from kfp_vision.components.shared.recipe.document import Setting
from kfp_vision.components.shared.report.records import Stages


class Loads(HTMLParser):
    """Collects what a browser would fetch: every src and href, and the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def loads(page: str) -> Loads:
    parser = Loads()
    parser.feed(page)
    return parser


@pytest.mark.parametrize("name", CASES)
def test_every_run_renders_as_one_file_without_nan(name: str, reports: dict[str, Path]) -> None:
    page = (reports[name] / "report.html").read_text(encoding="utf-8")
    held = loads(page)
    assert all(
        target.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#"))
        for target in held.targets
        if target
    )
    assert not {"link", "iframe", "object", "embed", "base"} & set(held.tags)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", page)
    text = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(NaN|nan|None|undefined)\b", text)
    assert len(page) < 5e6


def test_a_page_of_many_classes_long_names_and_noise_can_be_shown(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    """The page of a KFP server loads an HTML artifact whole, and freezes on a large one."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    run = many_classes(digits_run, 3000, LONG)
    mistake = run.evaluation.mistakes[0] | {"thumbnail": thumbnail(noise)}
    run = dataclasses.replace(
        run,
        profile=dataclasses.replace(
            run.profile,
            thumbnails=dict.fromkeys(run.dataset.classes, [thumbnail(noise)] * 6),
        ),
        evaluation=dataclasses.replace(run.evaluation, mistakes=[mistake] * 24),
    )
    build_report(run.write(tmp_path), tmp_path / "out")
    page = (tmp_path / "out/report.html").read_bytes()
    assert len(page) < 5e6
    assert page.count(b"data:image/jpeg") > 150
    assert b"The 1,000 of 3,000 weakest classes" in page
    assert b"The 1,000 of 3,000 classes with the fewest training images" in page


def test_class_names_are_text_and_never_markup(reports: dict[str, Path]) -> None:
    page = (reports["hostile names"] / "report.html").read_text(encoding="utf-8")
    charts = page.count("data-chart>")
    assert loads(page).tags.count("script") == charts + 1
    assert "<script>document.title" not in page
    assert "{{ 7*7 }}" in page


def test_report_json_holds_the_keys_that_tools_rely_on(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    report = build_report(digits_run.write(tmp_path), tmp_path / "out")
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
    assert report["status"] == "passed"
    assert report["task"] == "multiclass"
    assert report["dataset"] == {
        "uri": digits_run.dataset.source_uri,
        "unlabeled_uri": "",
        "fingerprint": digits_run.dataset.fingerprint,
        "splits": digits_run.dataset.splits,
        "classes": digits_run.dataset.classes,
    }
    assert report["metrics"]["primary"] == "accuracy"
    assert report["metrics"]["positive_class"] is None
    assert set(report["metrics"]["test"]["accuracy"]) == {"value", "ci95"}
    assert set(report["baselines"]) == {"zero_rule", "nearest_centroid"}
    assert set(report["exports"][0]) >= {
        "format",
        "path",
        "size_bytes",
        "latency_ms",
        "metrics",
        "max_abs_difference",
        "passed",
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", report["kfp_vision_version"])


def test_the_positive_class_is_named_with_its_share(digits_run: Artifacts, tmp_path: Path) -> None:
    positive = PositiveClass("<b>crack</b>", 0.112)
    evaluation = dataclasses.replace(digits_run.evaluation, positive_class=positive)
    run = dataclasses.replace(digits_run, evaluation=evaluation)
    report = build_report(run.write(tmp_path), tmp_path / "out")
    assert report["metrics"]["positive_class"] == {"name": "<b>crack</b>", "train_share": 0.112}
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    said = (
        "Positive: <b>&lt;b&gt;crack&lt;/b&gt;</b>, 11\N{NO-BREAK SPACE}% of the training images."
    )
    assert said in page


def test_cost_is_the_sum_of_the_stages_and_a_multiple_of_a_plain_training(
    reports: dict[str, Path],
) -> None:
    cost = json.loads((reports["plain"] / "report.json").read_text())["cost"]
    assert cost["total_s"] == sum(stage["seconds"] for stage in cost["stages"]) == 60
    # Not the 9 s of the stage, which trained longer and with augmentation.
    assert cost["plain_training_s"] == 4
    assert cost["multiple"] == pytest.approx(60 / 4)


def test_a_stage_is_compared_with_the_newest_estimate_before_it(digits_run: Artifacts) -> None:
    estimates = {
        "profile": {"stage_probe": 3.0, "stage_model": 4.0},
        "probe": {"stage_probe": 99.0, "stage_model": 5.0},
    }
    records = [
        dataclasses.replace(
            record, report=dataclasses.replace(record.report, summary={"plan": {"stages": planned}})
        )
        if (planned := estimates.get(record.artifact))
        else record
        for record in digits_run.records()
    ]
    stages = {stage["name"]: stage["estimated_s"] for stage in total_cost(records, 4.0)["stages"]}
    assert stages == {
        **dict.fromkeys(stages),
        "stage_probe": 3.0,
        "stage_model": 5.0,
    }


def test_the_report_says_what_a_budget_below_the_plan_needed(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    records = digits_run.records()
    plan = RunPlan(4.0, 60.0, 0.01, 5.0, {"train": 500.0}, "That is too little")
    records[1] = dataclasses.replace(
        records[1], report=dataclasses.replace(records[1].report, summary={"plan": plan})
    )
    folder = digits_run.write(tmp_path)
    write_json(Stages(records), folder / "stages.json")
    build_report(folder, tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "The budget was below the plan. That is too little." in page


def test_the_seconds_of_the_stages_are_not_called_those_of_the_run(
    reports: dict[str, Path],
) -> None:
    # Tasks also start, import and keep books: run.json has the wall clock.
    for folder in reports.values():
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert page.count("<dt>All stages</dt>") == 2
        assert "Whole run" not in page


def test_warnings_come_from_every_stage(digits_run: Artifacts, tmp_path: Path) -> None:
    evaluation = dataclasses.replace(
        digits_run.evaluation,
        passed=False,
        reasons=["Not better."],
        outcome="rejected",
        sentence="Not better.",
    )
    run = dataclasses.replace(digits_run, evaluation=evaluation)
    report = build_report(run.write(tmp_path), tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert [(warning["code"], warning["count"]) for warning in report["warnings"]] == [
        ("evaluation", 1),
        ("export_failed", 1),
        ("duplicates_exact", 43),
        ("rejected_unreadable", 2),
        ("search", 1),
        ("training", 1),
    ]
    assert (report["status"], report["reason"]) == ("rejected", "Not better.")
    assert "Rejected" in page
    assert "Not better." in page


def test_a_model_no_better_than_a_baseline_says_so_first(reports: dict[str, Path]) -> None:
    folder = reports["no better than a baseline"]
    report = json.loads((folder / "report.json").read_text())
    sentence = report["verdict"]["sentence"]
    assert (report["status"], report["verdict"]["outcome"]) == ("passed", "indistinguishable")
    assert report["warnings"][0] == {"code": "indistinguishable", "message": sentence, "count": 1}
    page = (folder / "report.html").read_text(encoding="utf-8")
    words = re.sub(r"<[^>]+>", "", page[page.index('class="lead">') :]).split(">", 1)[1].split()
    assert words[:6] == ["The", "model", "cannot", "be", "told", "from"]


def test_objects_are_not_called_images(reports: dict[str, Path]) -> None:
    pages = {name: (reports[name] / "report.html").read_text() for name in ("objects", "plain")}
    for words in (
        "Objects</th>",
        "AP small",
        "the usual box of each class",
        "Left: what is labelled; right: what the model finds",
        '<i class="key" style="background:#f22424"></i>0</span>',
    ):
        assert words in pages["objects"]
        assert words not in pages["plain"]
    assert "frozen_features" not in pages["objects"]


def test_precision_of_masks_is_of_pixels(reports: dict[str, Path]) -> None:
    words = "share of the pixels given this class"
    pages = {name: (reports[name] / "report.html").read_text() for name in ("pixels", "plain")}
    assert words in pages["pixels"]
    assert words not in pages["plain"]


def test_pictures_name_the_score_from_which_on_objects_are_drawn(reports: dict[str, Path]) -> None:
    page = (reports["objects"] / "report.html").read_text()
    assert "with a score of at least 0.25, where the F1" in page


def test_a_model_that_is_sure_of_no_object_is_warned_of(reports: dict[str, Path]) -> None:
    codes = {
        name: [
            each["code"]
            for each in json.loads((reports[name] / "report.json").read_text())["warnings"]
        ]
        for name in ("objects", "no object is found")
    }
    assert "nothing_found" in codes["no object is found"]
    assert "nothing_found" not in codes["objects"]


def test_a_rejected_model_without_exports_counts_none(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    run = dataclasses.replace(digits_run, exports=[])
    build_report(run.write(tmp_path), tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<dt>Exports passed</dt><dd>–<small> nothing was exported</small></dd>" in page


def test_a_model_that_no_format_can_hold_is_rejected(digits_run: Artifacts, tmp_path: Path) -> None:
    exports = [
        Export(name, f"model.{name}", 0, 0.0, {}, 0.0, False, "No luck.")
        for name in ("keras", "onnx")
    ]
    run = dataclasses.replace(digits_run, exports=exports)
    report = build_report(run.write(tmp_path), tmp_path / "out")
    assert report["status"] == "rejected"
    assert report["reason"] == "No format could be exported. keras: No luck. onnx: No luck."
    assert report["reason"] in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_a_missing_artifact_is_named(digits_run: Artifacts, tmp_path: Path) -> None:
    folder = digits_run.write(tmp_path)
    records = [each for each in digits_run.records() if each.artifact != "evaluation"]
    write_json(Stages(records), folder / "stages.json")
    with pytest.raises(ValueError, match="nothing about metrics, baselines, verdict, from"):
        build_report(folder, tmp_path / "out")
    (folder / "stages.json").unlink()
    with pytest.raises(ValueError, match="from the artifacts none"):
        build_report(folder, tmp_path / "out")


def _page(run: Artifacts, folder: Path, **changes: Any) -> str:
    """Returns the page of a run whose evaluation has some other fields."""
    run = dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, **changes))
    build_report(run.write(folder), folder / "out")
    return (folder / "out/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ("images", "the model gave no test image this class. Elsewhere: no test image has it"),
        ("pixels", "the model gave no pixel this class. Elsewhere: no pixel has it."),
    ],
)
def test_a_dash_is_not_said_to_come_of_too_few_images(
    counted: str, words: str, digits_run: Artifacts, tmp_path: Path
) -> None:
    rows = [{**row, "precision": None} for row in digits_run.evaluation.per_class]
    page = _page(digits_run, tmp_path, per_class=rows, counted=counted)
    assert f"A dash for precision: {words}" in page
    assert "too few test images" not in page


@pytest.mark.parametrize(
    ("defined", "drawn", "words"),
    [
        (10, 2, "; the 2 classes of lowest average precision."),
        (2, 2, "; the 2 classes that the test images can judge."),
        (10, 10, "against the rest."),
    ],
)
def test_the_classes_whose_curves_are_drawn_are_said(
    defined: int, drawn: int, words: str, digits_run: Artifacts, tmp_path: Path
) -> None:
    rows = [
        {**row, "average_precision": 0.5 if place < defined else None}
        for place, row in enumerate(digits_run.evaluation.per_class)
    ]
    curves = {
        name: dict(list(lines.items())[:drawn])
        for name, lines in digits_run.evaluation.curves.items()
    }
    page = _page(digits_run, tmp_path, per_class=rows, curves=curves)
    curves_end = page[page.index("<h3>Operating curves") :].split("</p>\n")
    assert any(each.endswith(words) for each in curves_end), curves_end[-1][-200:]


@pytest.mark.parametrize(("made", "is_short"), [(2, True), (149, True), (150, False)])
def test_a_training_that_was_cut_below_half_says_so_first(
    made: int, is_short: bool, digits_run: Artifacts, tmp_path: Path
) -> None:
    run = dataclasses.replace(
        digits_run, training=dataclasses.replace(digits_run.training, steps=made)
    )
    values = {"epochs": 60, "steps": 300, "network": "lite0_<i>"}
    recipe = {name: Setting(value, "`rule`") for name, value in values.items()}
    run = dataclasses.replace(run, recipe=run.recipe.with_settings("training", recipe))
    report = build_report(run.write(tmp_path), tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    short = f"only {made} of 300 steps: too few minutes"
    assert report["shortfall"] == (short if is_short else "")
    lead = page[page.index('<p class="lead">') :][: len(short) + 200]
    assert (f"Trained for {short}." in lead) == is_short
    title = markdown_summary(report, "out").splitlines()[0]
    assert title.endswith(f"passed, {short}" if is_short else "passed")
    # The recipe says what was planned; beside it stands what was made.
    assert f"{made} made: the time was too short" in page
    assert f"{made / 5:g} made: the time was too short" in page
    assert "<code>rule</code>" in page
    assert "lite0_<wbr>&lt;i&gt;" in page


def test_the_report_needs_no_tensorflow() -> None:
    code = (
        "import sys; import kfp_vision.components.reporting.build; "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shares_of_classes_are_of_the_training_images(reports: dict[str, Path]) -> None:
    page = (reports["1000 classes"] / "report.html").read_text(encoding="utf-8")
    # 100 of the 1000 training images carry each class: as with many labels an image.
    assert page.count('data-value="0.1"') == 1000


@pytest.mark.parametrize("name", CASES)
def test_the_summary_of_every_run_fits_one_screen_and_holds_no_markup_of_others(
    name: str, reports: dict[str, Path]
) -> None:
    report = json.loads((reports[name] / "report.json").read_text())
    text = markdown_summary(report, "s3://team/results_1/photos")
    assert text.splitlines()[0] == f"# real images: {report['status']}"
    assert r"s3://team/results\_1/photos" in text
    assert not re.search(r"\b(nan|None)\b|(?<!\\)<", text)
    assert len(text.splitlines()) < 45
    primary = report["metrics"]["primary"]
    if primary in report["metrics"]["test"]:
        assert f"{report['metrics']['test'][primary]['value']:.3f}" in text
    # Every row of a table has the cells of its head.
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {4, 5}
