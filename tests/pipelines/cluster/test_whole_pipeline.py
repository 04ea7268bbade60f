"""The compiled pipeline, all of it, on the strict backend: data and results lie in buckets."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from scenes import write_mask_scenes, write_scenes
from strict_backend import Backend, Refused

from kfp_vision.components.shared.recipe.document import fetch_recipe
from kfp_vision.components.shared.runtime.storage import download, open_folder, upload
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.placement import SECRET_KEYS
from kfp_vision.pipelines.cluster.profile import Profile
from kfp_vision.pipelines.resources import STAGES

pytestmark = pytest.mark.long

CLASSES, IMAGES = ("digit 0", "digit 1"), 80


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    compile_pipeline(path, Profile(secret="storage"), trial_workers=2, teacher_workers=2)
    return path


@pytest.fixture
def backend(s3, digits_folder, tmp_path) -> Backend:
    for name in CLASSES:
        for path in sorted((digits_folder / name).iterdir())[:IMAGES]:
            upload(path, f"{s3}/digits/{name}/{path.name}")
    secret = {key: os.environ[key] for key in SECRET_KEYS if key in os.environ}
    return Backend(tmp_path / "disks", s3, secret)


def run(backend, package, architecture, epochs, data="digits", **others):
    """Runs all stages; returns the logs of the training."""
    root = backend.root_uri
    backend.run(
        package,
        {
            "dataset_uri": f"{root}/{data}",
            "output_uri": f"{root}/out",
            "checkpoint_uri": f"{root}/checkpoints",
            "architecture": architecture,
            "epochs": epochs,
            "learn_batch_size": False,
            # The tasks of several workers, without a trial or a teacher in them.
            "search_augmentation": False,
            **others,
        },
    )
    names = {re.sub(r"^\d+-|-\d+$", "", name).replace("-", "_") for name in backend.logs}
    assert names == set(STAGES) - {"search_policy", "train_model", "decide_retraining"}
    return [log for name, log in backend.logs.items() if "train-model" in name]


def test_every_stage_passes_and_the_results_can_be_read_back(
    backend, package, small_model, tmp_path
):
    upload(Path(small_model), f"{backend.root_uri}/small.keras")
    (_,) = run(backend, package, f"{backend.root_uri}/small.keras", epochs=40)
    check_results(backend.root_uri, tmp_path / "out")


@pytest.mark.slow
def test_teachers_of_several_pods_are_deployed_together(backend, package, small_model, tmp_path):
    upload(Path(small_model), f"{backend.root_uri}/small.keras")
    more = {"teachers": 2, "deploy": "ensemble", "preset": "best"}
    run(backend, package, f"{backend.root_uri}/small.keras", epochs=8, **more)
    check_results(backend.root_uri, tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    kinds = [each["kind"] for each in report["teachers"]["members"]]
    assert (kinds, report["teachers"]["failed"]) == (["model", "pretrained", "seed"], [])


@pytest.mark.slow
@pytest.mark.parametrize("task", [name for name, facts in TASKS.items() if facts.is_spatial])
def test_every_task_in_the_image_passes_between_pods(backend, package, tmp_path, task):
    write = write_mask_scenes if task == "semantic_segmentation" else write_scenes
    counts = {"train": 48, "val": 16, "test": 16}
    upload(write(tmp_path / "scenes", counts), f"{backend.root_uri}/scenes")
    # A model that is rejected is published without its files.
    with contextlib.suppress(Refused):
        run(backend, package, "separable", epochs=8, data="scenes", task=task, preset="best")
    download(f"{backend.root_uri}/out", tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["task"] == task
    assert report["metrics"]["primary"] in report["metrics"]["test"]
    assert {"publish"} <= {re.sub(r"^\d+-|-\d+$", "", name) for name in backend.logs}


# In small: `test_a_killed_task_is_tried_again_with_an_empty_disk`, and the training that is killed
# and resumed in test_train.py.
@pytest.mark.slow
def test_a_killed_training_goes_on_in_another_container(backend, package, tmp_path):
    root = backend.root_uri

    def is_under_way(log):
        """The third state in the bucket is later than the first line of progress."""
        stored = open_folder(root)[0].list_files() if '"stage": "train"' in log else []
        numbers = [re.search(r"^checkpoints/.*/generations/(\d+)", name) for name in stored]
        return any(int(number[1]) >= 3 for number in numbers if number)

    backend.preempt["train-model-alone"] = is_under_way
    logs = run(backend, package, "separable", epochs=200)
    check_results(root, tmp_path / "out")
    check_training_went_on(logs)


def check_results(root, out):
    """The output is that of a run on one machine, and its URIs lead to the artifacts."""
    download(f"{root}/out", out)
    report = json.loads((out / "report.json").read_text())
    assert (report["status"], report["dataset"]["classes"]) == ("passed", [*CLASSES])
    assert (out / "model/model.onnx").exists()
    uris = json.loads((out / "artifacts.json").read_text())
    # A placeholder is no ID.
    assert re.fullmatch("[0-9a-z-]+", uris.pop("run_id"))
    assert all(uri.startswith("minio://") for uri in uris.values())
    for uri in uris.values():
        assert open_folder(uri)[0].list_files()
    assert fetch_recipe(f"{uris['model']}/recipe.json").sections


def check_training_went_on(logs):
    """A container with an empty disk continued from what the killed one left in the bucket."""
    killed, finished = (
        [
            json.loads(line.split(" ", 1)[1])
            for line in log.splitlines()
            if '"stage": "train"' in line
        ]
        for log in logs
    )
    assert killed[-1]["done"] < killed[-1]["total"]
    assert finished[0]["done"] > killed[0]["done"]
    # A line that is printed before the first step has no loss yet.
    losses = {line["done"]: line["loss"] for line in killed if "loss" in line}
    again = [line for line in finished if "loss" in line and line["done"] in losses]
    assert all(line["loss"] == losses[line["done"]] for line in again)
    assert finished[-1]["done"] == finished[-1]["total"]
