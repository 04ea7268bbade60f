"""Whole runs, with every default, of networks that people bring and of the pretrained one."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers
from PIL import Image

_MODELS = runpy.run_path(
    str(Path(__file__).parents[1] / "components/shared/architectures/brought_models.py")
)
WITH_HEAD, WITHOUT_HEAD = _MODELS["WITH_HEAD"], _MODELS["WITHOUT_HEAD"]
FORMATS = {"keras", "saved_model", "onnx", "tflite", "tflite_int8"}


def outcomes(output: Path) -> dict[str, str]:
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {stage["name"]: stage["outcome"] for stage in stages}


def exports(output: Path) -> dict[str, dict[str, Any]]:
    report = json.loads((output / "report.json").read_text())
    return {export["format"]: export for export in report["exports"]}


def some_digits(digits_folder: Path, folder: Path, num_classes: int, per_class: int = 180) -> Path:
    for label in range(num_classes):
        (folder / f"{label}").mkdir(parents=True)
        for path in sorted((digits_folder / f"digit {label}").iterdir())[:per_class]:
            shutil.copy(path, folder / f"{label}")
    return folder


def check_run(
    kfp_vision, dataset: Path, output: Path, architecture: object, *options: object
) -> None:
    """All stages of a run end well, and so does every format of an accepted model."""
    arguments = ("--dataset-uri", dataset, "--output", output, "--architecture", architecture)
    answer = kfp_vision("run", *arguments, *options)
    told = answer.stdout + answer.stderr
    # The last stage rejects a weak network on few images: that is no failure of the others.
    assert answer.returncode == 0 or "rejected: " in told, told
    failed = {name for name, outcome in outcomes(output).items() if outcome == "failed"}
    assert failed <= {"check-model"}, told
    if answer.returncode == 0:
        assert set(exports(output)) == FORMATS
        for name, export in exports(output).items():
            assert export["passed"] or name == "tflite_int8", export


# A whole run each. What else people bring is built, trained and saved in `test_user_model.py`.
ENDS = {
    **{name: WITH_HEAD[name] for name in ("attention", "mixed float16", "its own augmentation")},
    **{name: WITH_HEAD[name] for name in ("a frozen backbone", "gray", "any size")},
    "feature vector": WITHOUT_HEAD["feature vector"][0],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_a_model_of_three_classes_runs_to_the_end(name, digits_folder, kfp_vision, tmp_path):
    ENDS[name]().save(tmp_path / "mine.keras")
    dataset = some_digits(digits_folder, tmp_path / "digits", 3)
    check_run(kfp_vision, dataset, tmp_path / "out", tmp_path / "mine.keras")


@pytest.mark.slow
def test_one_sigmoid_of_two_classes_runs_to_the_end(digits_folder, kfp_vision, tmp_path):
    WITHOUT_HEAD["a sigmoid of two"][0]().save(tmp_path / "mine.keras")
    dataset = some_digits(digits_folder, tmp_path / "digits", 2)
    check_run(kfp_vision, dataset, tmp_path / "out", tmp_path / "mine.keras")
    assert len(keras.models.load_model(tmp_path / "out/model/model.keras").output.shape) == 2


@pytest.mark.slow
def test_a_model_with_its_own_head_passes_the_search(digits_folder, kfp_vision, tmp_path):
    own = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    end = [layers.Dropout(0.3), layers.Dense(10, activation="softmax")]
    start = [keras.Input((16, 16, 1)), layers.Rescaling(1 / 255)]
    keras.Sequential([*start, *own, *end]).save(tmp_path / "mine.keras")
    # As short as it is by default, no search can be afforded.
    model, longer = tmp_path / "mine.keras", ("--epochs", 60)
    check_run(kfp_vision, digits_folder, tmp_path / "out", model, *longer)
    recipe = json.loads((tmp_path / "out/recipe.json").read_text())["sections"]
    assert recipe["training"]["dropout"]["value"] == 0
    table = next((tmp_path / "out/.kfp-vision").rglob("table.json"))
    found = json.loads(table.read_text())
    assert not found["skipped"]
    assert "dropout" not in found["regularisers"]


@pytest.mark.slow
def test_the_pretrained_network_runs_to_the_end(digits_folder, kfp_vision, tmp_path):
    dataset = some_digits(digits_folder, tmp_path / "digits", 2, per_class=40)
    check_run(kfp_vision, dataset, tmp_path / "out", "efficientnet_lite0_imagenet")


def test_what_the_file_tells_is_refused_before_the_first_stage(
    digits_folder, kfp_vision_here, tmp_path
):
    (tmp_path / "mine.keras").write_text("not a model")
    arguments = ("--dataset-uri", digits_folder, "--output", tmp_path / "out")
    answer = kfp_vision_here("run", *arguments, "--architecture", tmp_path / "mine.keras")
    assert answer.returncode == 2
    assert "which is not a Keras archive but text" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_the_data_decide_is_refused_right_after_the_import(
    digits_folder, kfp_vision, tmp_path
):
    WITH_HEAD["gray"]().save(tmp_path / "mine.keras")
    dataset = some_digits(digits_folder, tmp_path / "digits", 3)
    for path in dataset.rglob("*.png"):
        Image.open(path).convert("RGB").rotate(1).save(path)
        pixels = Image.open(path)
        pixels.putpixel((0, 0), (255, 0, 0))
        pixels.save(path)
    arguments = ("--dataset-uri", dataset, "--output", tmp_path / "out")
    answer = kfp_vision("run", *arguments, "--architecture", tmp_path / "mine.keras")
    assert answer.returncode == 1
    assert "takes 1 channel(s). Received: 3 in the data" in answer.stdout
    assert outcomes(tmp_path / "out")["probe-batch-size"] == "failed"
    assert "search-augmentation" not in outcomes(tmp_path / "out")
