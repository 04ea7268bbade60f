"""What a run publishes: what exists and nothing of an earlier run; files of the user stay."""

import json
from pathlib import Path

import pytest

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.evaluation_result import Export
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.report.records import StageRecord, StageReport, Stages
from kfp_vision.components.shared.runtime.storage import open_folder
from kfp_vision.pipelines.publishing.publish import publish_results, rejection, set_results_aside

PATHS = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "tflite": "model.tflite",
    "tflite_int8": "model_int8.tflite",
}
SAVED_MODEL = (
    *("saved_model.pb", "fingerprint.pb"),
    *("variables/variables.index", "variables/variables.data-00000-of-00001"),
)
TABLES = {"report.html", "report.json", "recipe.json", "predictions.parquet", "artifacts.json"}
MODELS = {
    *("model/model.json", "model/README.md", "model/model.keras", "model/model.onnx"),
    *("model/model.tflite", "model/model_int8.tflite"),
    *(f"model/saved_model/{name}" for name in SAVED_MODEL),
}


@pytest.fixture
def run(tmp_path):
    """Makes the artifacts of a run whose files hold `word`; some formats work, others failed."""

    def make(word: str, works: tuple[str, ...] = tuple(PATHS), failed: tuple[str, ...] = ()):
        names = ("evaluation", "exports", "report")
        folders = {name: tmp_path / word / name for name in names}
        for folder in folders.values():
            folder.mkdir(parents=True)
        card = ModelCard("binary", ["a", "b"], [8, 9], channels=3, white_level=4095)
        write_json(card, folders["exports"] / "model.json")
        (folders["exports"] / "README.md").write_text(word)
        records = [
            StageRecord(name, str(folders[name]), StageCost(name, 1.0, 1), StageReport())
            for name in ("evaluation", "exports")
        ]
        write_json(Stages(records), folders["exports"] / "stages.json")
        (folders["exports"] / "recipe.json").write_text(word)
        (folders["evaluation"] / "predictions.parquet").write_text(word)
        for name in ("report.html", "report.json"):
            (folders["report"] / name).write_text(word)
        exports = [Export(f, PATHS[f], 1, 1.0, {"auroc": 1.0}, 0.0, True, "") for f in works]
        exports += [Export(f, PATHS[f], 0, 0.0, {}, 0.0, False, "no") for f in failed]
        content = {"exports": exports, "reason": "" if works else "Not exported."}
        write_json(content, folders["exports"] / "exports.json")
        for name in works:
            parts = SAVED_MODEL if name == "saved_model" else ("",)
            for part in parts:
                path = folders["exports"] / PATHS[name] / part
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(word)
        return folders

    return make


def publish(folders, output):
    names = ("evaluation", "exports", "report")
    evaluation, exports, report = (folders[name] for name in names)
    publish_results(evaluation, exports, report, f"{output}/", str(report), "run-1")


def published(output: Path) -> set[str]:
    return {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}


def test_all_is_published_and_says_how_to_use_the_model(run, tmp_path):
    output = tmp_path / "out"
    publish(run("one"), output)
    assert published(output) == TABLES | MODELS
    card = read_json(ModelCard, output / "model" / "model.json")
    assert (card.task, card.classes, card.image_size) == ("binary", ["a", "b"], [8, 9])
    artifacts = json.loads((output / "artifacts.json").read_text())
    assert artifacts.pop("run_id") == "run-1"
    assert artifacts.keys() == {"evaluation", "exports", "report"}


@pytest.mark.parametrize("previous", ["fresh folder", "an earlier run"])
def test_a_failed_format_costs_only_itself_and_leaves_no_older_file(run, tmp_path, previous):
    output = tmp_path / "out"
    if previous == "an earlier run":
        publish(run("one"), output)
    publish(run("two", ("keras", "onnx", "tflite_int8"), ("saved_model", "tflite")), output)
    gone = {name for name in MODELS if "saved_model" in name} | {"model/model.tflite"}
    assert published(output) == TABLES | MODELS - gone
    assert not (output / "model" / "saved_model").exists()
    assert (output / "model" / "model.onnx").read_text() == "two"


def test_a_rejected_model_leaves_its_report_and_no_older_model(run, tmp_path):
    output = tmp_path / "out"
    publish(run("one"), output)
    notes = output / "model" / "saved_model" / "notes.txt"
    notes.write_text("mine")
    (output / "logs").mkdir()
    (output / "logs" / "mine.keras").write_text("mine")
    publish(run("two", works=()), output)
    assert published(output) == TABLES | {"model/saved_model/notes.txt", "logs/mine.keras"}
    assert (output / "report.html").read_text() == "two"
    notes.unlink()
    (output / "model" / "saved_model").rmdir()
    publish(run("three", works=()), output)
    publish(run("four"), output)
    publish(run("five", works=()), output)
    assert not [path for path in (output / "model").rglob("*") if path.is_file()]


def test_what_lay_there_before_any_run_is_the_users(run, tmp_path):
    output = tmp_path / "out"
    (output / "model").mkdir(parents=True)
    (output / "model" / "model.tflite").write_text("mine")
    assert set_results_aside(str(output)) == ""
    publish(run("one", works=()), output)
    assert (output / "model" / "model.tflite").read_text() == "mine"


def test_a_run_that_failed_leaves_no_results_that_look_like_its_own(run, tmp_path):
    output = tmp_path / "out"
    assert set_results_aside(str(output)) == ""
    publish(run("one"), output)
    (output / "run.json").write_text("{}")
    (output / "model" / "README").write_text("mine")
    assert set_results_aside(f"{output}/") == f"{output}/previous"
    kept = {"run.json", "model/README"}
    assert published(output) == {f"previous/{name}" for name in TABLES | MODELS} | kept
    # A second failure has nothing to move; results that are published again are alone.
    assert set_results_aside(str(output)) == ""
    assert (output / "previous" / "model" / "model.keras").read_text() == "one"
    publish(run("two"), output)
    assert published(output) == TABLES | MODELS | kept
    assert not (output / "previous").exists()


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({"status": "passed", "reason": ""}, ""),
        ({"status": "rejected", "reason": "Worse than a coin."}, "Worse than a coin."),
    ],
)
def test_the_report_decides_what_is_rejected(tmp_path, report, reason):
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert rejection(tmp_path) == reason


def test_a_bucket_shows_one_run_too(run, s3, tmp_path):
    for word, works in (("one", tuple(PATHS)), ("two", ("keras",)), ("three", ())):
        publish(run(word, works), f"{s3}/deep/out")
        names = set(open_folder(f"{s3}/deep/out")[0].list_files())
        models = {"model/model.json", "model/README.md", "model/model.keras"} if works else set()
        assert names == TABLES | (MODELS if word == "one" else models)
    assert set_results_aside(f"{s3}/deep/out") == f"{s3}/deep/out/previous"
    names = set(open_folder(f"{s3}/deep/out")[0].list_files())
    assert names == {f"previous/{name}" for name in TABLES}
