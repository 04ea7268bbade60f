"""Whole runs on one machine: what they leave, how they fail, and how they go on."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import kfp_vision
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.pipelines.local.launcher import run_locally
from kfp_vision.pipelines.parameters import Parameters

pytestmark = pytest.mark.long

RESULTS = (
    "report.html",
    "report.json",
    "recipe.json",
    "predictions.parquet",
    "model/model.keras",
    "model/saved_model/saved_model.pb",
    "model/model.onnx",
    "model/model.tflite",
    "model/model_int8.tflite",
    "model/model.json",
    "model/README.md",
    "run.json",
    "logs/train-model.log",
)
STAGES = (
    "list-sources",
    "import-dataset",
    "profile-dataset",
    "check-profile",
    "choose-network",
    "probe-batch-size",
    "search-policy",
    "train-model",
    "evaluate-model",
    "export-model",
    "publish",
    "check-model",
)


def outcomes(output):
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {stage["name"]: stage["outcome"] for stage in stages}


@pytest.mark.parametrize("name", RESULTS)
def test_a_run_leaves(finished_run, name):
    assert (finished_run / name).stat().st_size > 0


def test_in_python_the_results_are_those_of_the_files(finished_run, digits_folder):
    run = kfp_vision.load(finished_run)
    assert (run.status, run.reason, run.page) == ("passed", "", f"{finished_run}/report.html")
    assert run.report == json.loads((finished_run / "report.json").read_text())
    assert run.recipe == json.loads((finished_run / "recipe.json").read_text())
    primary = run.report["metrics"]["primary"]
    assert run.metrics[primary] == run.report["metrics"]["test"][primary]["value"] > 0.8
    assert run.model.card.classes == [f"digit {label}" for label in range(10)]


def test_in_python_the_model_predicts_a_table(finished_run, digits_folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    model = kfp_vision.Model(finished_run / "model" / "model.onnx")
    table = model.predict([digits_folder / "digit 0", broken])
    rows = table.to_pylist()
    assert len(rows) == 1 + len(list((digits_folder / "digit 0").iterdir()))
    assert {rows[-1][name] for name in table.column_names[1:-1]} == {None}
    assert rows[-1]["error"]
    for row in rows[:-1]:
        probabilities = {name: row[f"p_{name}"] for name in model.card.classes}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == max(probabilities, key=lambda name: probabilities[name])
        assert row["error"] is None
    assert model.predict(str(digits_folder / "digit 0")).equals(table.slice(0, len(rows) - 1))


def test_in_python_the_page_is_opened_in_a_browser(finished_run, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    kfp_vision.load(f"{finished_run}/").show()
    assert opened == [(finished_run / "report.html").as_uri()]


def test_the_report_holds_what_tools_rely_on(finished_run):
    report = json.loads((finished_run / "report.json").read_text())
    assert report["task"] == "multiclass"
    assert report["dataset"]["classes"] == [f"digit {label}" for label in range(10)]
    assert sum(report["dataset"]["splits"].values()) <= 1797
    assert report["metrics"]["test"][report["metrics"]["primary"]]["ci95"]
    assert {export["format"] for export in report["exports"]} == {
        *("keras", "saved_model", "onnx", "tflite", "tflite_int8")
    }
    assert report["cost"]["total_s"] >= report["cost"]["plain_training_s"] > 0


def test_trials_were_run_and_a_run_without_them_is_told_apart(finished_run, tmp_path):
    check = [sys.executable, str(Path(__file__).parents[2] / ".ci/check_trials.py")]
    answer = subprocess.run([*check, finished_run], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    trials = json.loads((finished_run / "report.json").read_text())["search"]["trials"]
    assert [trial["error"] for trial in trials if not trial["losses"]] == []
    journals = finished_run.glob(".kfp-vision/checkpoints/trials-*/*.jsonl")
    lines = [line for path in journals for line in path.read_text().splitlines()]
    assert len(lines) == len(trials) >= 2
    search = {"trials": [], "skipped": "too short", "decision": ""}
    (tmp_path / "report.json").write_text(json.dumps({"search": search}))
    answer = subprocess.run([*check, tmp_path], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "0 of 0 trials; too short" in answer.stderr


def test_orchestration_is_what_no_stage_accounts_for(finished_run):
    run = json.loads((finished_run / "run.json").read_text())
    assert [stage["name"] for stage in run["stages"]] == list(STAGES)
    work = sum(stage["work_seconds"] for stage in run["stages"])
    assert all(stage["work_seconds"] <= stage["seconds"] for stage in run["stages"])
    assert run["orchestration_share"] == pytest.approx(1 - work / run["seconds"])


def test_the_same_command_again_repeats_no_stage(finished_run, run_arguments, kfp_vision):
    (finished_run / "report.html").unlink()
    answer = kfp_vision("run", *run_arguments, "--output", finished_run)
    assert answer.returncode == 0
    never_cached = dict.fromkeys(("list-sources", "publish"), "done")
    assert outcomes(finished_run) == dict.fromkeys(STAGES, "cached") | never_cached
    assert (finished_run / "report.html").exists()


@pytest.mark.parametrize("model", ["", "model/model.keras", "model/model.onnx"])
def test_predict_reads_images_like_the_import(finished_run, digits_folder, kfp_vision_here, model):
    broken = digits_folder.parent / "broken.png"
    broken.write_bytes(b"not an image")
    images = sorted((digits_folder / "digit 0").iterdir())[:3]
    answer = kfp_vision_here("predict", finished_run / model, *images, broken)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert f"1 of 4 files cannot be read as images, the first is {broken}: " in line
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [row["path"] for row in rows] == [str(path) for path in (*images, broken)]
    for row in rows[:-1]:
        probabilities = [float(row[f"p_digit {label}"]) for label in range(10)]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == f"digit {probabilities.index(max(probabilities))}"
    assert rows[-1]["error"]
    assert not rows[-1]["predicted"]


def test_report_is_built_again_from_the_artifacts(finished_run, kfp_vision):
    before = json.loads((finished_run / "report.json").read_text())
    (finished_run / "report.html").unlink()
    answer = kfp_vision("report", f"file://{finished_run}")
    assert answer.stdout.strip() == str(finished_run / "report.html")
    assert (finished_run / "report.html").exists()
    assert json.loads((finished_run / "report.json").read_text())["metrics"] == before["metrics"]


def test_the_report_of_a_run_in_a_bucket_is_not_looked_for_in_a_folder(kfp_vision_here):
    answer = kfp_vision_here("report", "s3://bucket/out")
    assert answer.returncode == 2
    assert "`output` must be on this machine" in answer.stderr
    assert "Received: 's3://bucket/out', a bucket." in answer.stderr


def test_a_report_is_not_built_from_an_output_of_other_stages(tmp_path, kfp_vision_here):
    (tmp_path / "artifacts.json").write_text(json.dumps({"exports": str(tmp_path)}))
    answer = kfp_vision_here("report", tmp_path)
    assert answer.returncode == 2
    assert (
        "made by another version. `kfp-vision run` with this output makes it anew." in answer.stderr
    )
    assert "Traceback" not in answer.stderr


def test_a_failed_stage_says_which_why_and_where(tmp_path, kfp_vision):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "out"
    answer = kfp_vision("run", "--dataset-uri", tmp_path / "empty", "--output", output)
    log = output / "logs" / "list-sources.log"
    assert answer.returncode == 1
    assert "list-sources failed: " in answer.stdout
    assert "Received: " in answer.stdout
    assert str(log) in answer.stdout
    assert "Traceback" in log.read_text()
    assert "Traceback" not in answer.stdout + answer.stderr


def test_a_recipe_that_is_none_stops_before_the_first_stage(
    tmp_path, digits_folder, kfp_vision_here
):
    arguments = ("--dataset-uri", digits_folder, "--output", tmp_path / "out")
    answer = kfp_vision_here("run", *arguments, "--recipe-uri", digits_folder)
    assert answer.returncode == 2
    assert f"must be a recipe.json. Received: {digits_folder}, a folder" in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [-4, "fast", None])
def test_a_value_that_no_training_can_use_stops_before_the_first_stage(
    value, tmp_path, digits_folder
):
    held = {"batch_size": Setting(value, "by hand", source="user")}
    write_recipe(Recipe().with_settings("training", held), tmp_path / "recipe.json")
    parameters = Parameters(
        dataset_uri=str(digits_folder),
        output_uri=str(tmp_path / "out"),
        recipe_uri=str(tmp_path / "recipe.json"),
    )
    with pytest.raises(ValueError, match="`batch_size` must be a positive number. Received: "):
        run_locally(parameters, Console())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_uri": "/nowhere"}, "Cannot reach '/nowhere'"),
        ({"unlabeled_uri": "/nowhere"}, "Cannot reach '/nowhere'"),
        ({"accept_findings": "imbalance, leaks"}, r"`accept_findings` must be .*\['leaks'\]"),
        ({"output_uri": f"{__file__}/out"}, "must be a folder.*test_local_run.py is a file"),
    ],
)
def test_what_is_known_beforehand_stops_before_the_first_stage(
    changes, message, tmp_path, digits_folder
):
    given = {"dataset_uri": str(digits_folder), "output_uri": str(tmp_path / "out")}
    with pytest.raises((ValueError, StorageError), match=message):
        run_locally(Parameters(**(given | changes)), Console())
    assert not (tmp_path / "out").exists()


def test_a_failing_finding_stops_and_only_what_reads_a_change_runs_again(
    tmp_path, digits_folder, kfp_vision
):
    """A manifest whose images are swapped, then a recipe; each run stops at the leak."""
    output, recipe = tmp_path / "out", tmp_path / "recipe.json"
    rows = ["path,label,split"]
    for label in (0, 1):
        shutil.copytree(digits_folder / f"digit {label}", tmp_path / str(label))
        for index, path in enumerate(sorted((tmp_path / str(label)).iterdir())):
            name = f"{label}/{path.name}"
            rows += [f"{name},{label},train"] + [f"{name},{label},test"] * (index < 50)
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    write_recipe(Recipe(), recipe)

    def run():
        arguments = ("--dataset-uri", tmp_path / "labels.csv", "--recipe-uri", recipe)
        return kfp_vision("run", *arguments, "--output", output)

    finished = ("list-sources", "import-dataset", "profile-dataset")
    everything = {**dict.fromkeys(finished, "done"), "check-profile": "failed"}
    answer = run()
    assert answer.returncode == 1
    assert "leakage_exact" in answer.stdout
    assert outcomes(output) == everything
    first, second = (min((tmp_path / label).iterdir()) for label in "01")
    swapped = first.read_bytes(), second.read_bytes()
    second.write_bytes(swapped[0])
    first.write_bytes(swapped[1])
    run()
    assert outcomes(output) == everything
    write_recipe(Recipe({"training": {"epochs": Setting(2, "by hand", source="user")}}), recipe)
    run()
    assert outcomes(output) == everything | {"import-dataset": "cached"}


def test_the_output_must_not_lie_in_the_dataset(digits_folder, kfp_vision_here):
    answer = kfp_vision_here(
        "run", "--dataset-uri", digits_folder, "--output", digits_folder / "out"
    )
    assert answer.returncode == 2
    assert "must not lie in the dataset" in answer.stderr
