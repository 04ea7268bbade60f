"""A model that is no better than chance: what it leaves, how the run ends, and where."""

import json
import re

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def noise_folder(tmp_path_factory):
    """300 images of noise in two classes, which nothing tells apart."""
    root = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for index in range(300):
        folder = root / ("heads" if index % 2 else "tails")
        folder.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What an earlier run has published, and a file of the user's."""
    folder = tmp_path_factory.mktemp("rejected") / "out"
    (folder / "model").mkdir(parents=True)
    for name in ("artifacts.json", "report.json", "model/model.keras", "model/model.json"):
        (folder / name).write_text('"of an earlier run"')
    (folder / "model" / "mine.txt").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def answer(kfp_vision, noise_folder, output, small_model):
    switches = ("--no-learn-batch-size", "--no-search-augmentation", "--epochs", 1)
    network = ("--architecture", small_model)
    return kfp_vision("run", "--dataset-uri", noise_folder, "--output", output, *switches, *network)


def test_the_last_line_is_the_reason_and_the_exit_code_is_1(answer, output):
    assert answer.returncode == 1, answer.stdout + answer.stderr
    last = answer.stdout.rstrip().splitlines()[-1]
    report = json.loads((output / "report.json").read_text())
    assert last == f"rejected: {report['reason']}"
    assert re.search(r"accuracy 0\.\d+ .*`zero_rule`", last)
    run = json.loads((output / "run.json").read_text())
    assert (run["status"], run["reason"]) == ("rejected", last)
    assert report["status"] == "rejected"
    assert "Cannot reach" not in answer.stdout + answer.stderr


def test_what_exists_is_published(answer, output):
    assert answer.returncode == 1
    run = json.loads((output / "run.json").read_text())
    outcomes = {stage["name"]: stage["outcome"] for stage in run["stages"]}
    assert (outcomes["publish"], outcomes["check-model"]) == ("done", "failed")
    for name in ("report.html", "recipe.json", "predictions.parquet", "logs/check-model.log"):
        assert (output / name).stat().st_size
    assert "Rejected" in (output / "report.html").read_text()


def test_no_model_stays_and_nothing_of_the_users_goes(answer, output):
    assert answer.returncode == 1
    assert [path.name for path in (output / "model").rglob("*")] == ["mine.txt"]


def test_predict_says_that_there_is_no_model(answer, output, noise_folder, kfp_vision_here):
    assert answer.returncode == 1
    refused = kfp_vision_here("predict", output, noise_folder)
    assert refused.returncode == 2
    assert "rejected" in refused.stderr
