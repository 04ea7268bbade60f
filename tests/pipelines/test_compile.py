"""The compiled pipeline: what a Kubeflow Pipelines server gets."""

import subprocess
import sys

import pytest
import yaml


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, kfp_vision):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    answer = kfp_vision("compile", path)
    assert answer.returncode == 0, answer.stderr
    return yaml.safe_load(path.read_text())


def test_compiling_imports_neither_tensorflow_nor_keras(tmp_path):
    code = (
        "import sys; from kfp import compiler;"
        "from kfp_vision.pipelines.training import training_pipeline;"
        f"compiler.Compiler().compile(training_pipeline, {str(tmp_path / 'pipeline.yaml')!r});"
        "sys.exit(bool({'tensorflow', 'keras', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_imports_neither_kfp_nor_tensorflow():
    code = (
        "import sys; import kfp_vision.pipelines.cli;"
        "sys.exit(bool({'tensorflow', 'keras', 'kfp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_is_measured_or_trained_before_the_gate(compiled):
    tasks = compiled["root"]["dag"]["tasks"]
    assert "check-profile" in tasks["probe-batch-size"]["dependentTasks"]
    assert "probe-batch-size" in tasks["train-model"]["dependentTasks"]


def test_every_task_runs_the_versioned_image_and_installs_nothing(compiled):
    executors = compiled["deploymentSpec"]["executors"].values()
    for container in (executor["container"] for executor in executors):
        image, _, tag = container["image"].partition(":")
        assert "python" in image
        assert tag
        assert "pip install" not in " ".join(container["command"])


def test_publishing_is_never_cached(compiled):
    tasks = compiled["root"]["dag"]["tasks"]
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(tasks) - {"publish"}
