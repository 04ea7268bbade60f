"""The compiled pipeline: what a Kubeflow Pipelines server gets."""

import subprocess
import sys

import pytest
import yaml

from kfp_vision.components.shared.artifacts.dataset_info import SPLITS
from kfp_vision.components.shared.artifacts.search_result import ROUNDS


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, kfp_vision):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    answer = kfp_vision("compile", path)
    assert answer.returncode == 0, answer.stderr
    pipeline, _ = yaml.safe_load_all(path.read_text())
    return pipeline


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
    assert "check-profile" in tasks["choose-network"]["dependentTasks"]
    assert "choose-network" in tasks["probe-batch-size"]["dependentTasks"]
    assert "probe-batch-size" in tasks["search-augmentation"]["dependentTasks"]
    assert "search-trials" in tasks["train-model"]["dependentTasks"]


def test_one_worker_runs_the_search_in_one_task_and_several_share_its_rounds(compiled):
    branches = compiled["components"]["comp-condition-branches-1"]["dag"]["tasks"]
    conditions = [task["triggerPolicy"]["condition"] for task in branches.values()]
    assert any("> 1" in condition for condition in conditions)
    several, one = (
        compiled["components"][task["componentRef"]["name"]]["dag"]["tasks"]
        for task in branches.values()
    )
    assert list(one) == ["no-trials"]
    loops = [name for name in several if name.startswith("for-loop")]
    proposals = [name for name in several if name.startswith("propose-trials")]
    assert (len(loops), len(proposals)) == (len(ROUNDS), len(ROUNDS) + 1)
    # Every round is proposed from the trials before it.
    for loop, before, after in zip(loops, proposals, proposals[1:], strict=False):
        items = several[loop]["parameterIterator"]["items"]["inputParameter"]
        assert items == f"pipelinechannel--{before}-Output"
        assert loop in several[after]["dependentTasks"]


def test_a_task_downloads_the_splits_that_it_reads_and_no_other(compiled):
    parts = {"dataset_info", *SPLITS}
    read = {
        name.removeprefix("comp-"): parts & set(component["inputDefinitions"].get("artifacts", {}))
        for name, component in compiled["components"].items()
        if {"executorLabel", "inputDefinitions"} <= component.keys() and not name[-1].isdigit()
    }
    trained = {"dataset_info", "train", "validation"}
    assert {name: splits for name, splits in read.items() if splits} == {
        "profile-dataset": parts,
        "choose-network": trained,
        "probe-batch-size": {"dataset_info", "train"},
        "search-augmentation": trained,
        "run-trials": trained,
        "search-trials": trained,
        "train-model": trained,
        "evaluate-model": {*trained, "test"},
        "export-model": {"dataset_info", "train", "test"},
    }


def test_the_training_takes_the_recipe_of_the_search(compiled):
    inputs = compiled["root"]["dag"]["tasks"]["train-model"]["inputs"]["artifacts"]
    assert inputs["recipe"]["taskOutputArtifact"]["producerTask"] == "search-trials"


def test_every_task_runs_the_versioned_image_and_installs_nothing(compiled):
    executors = compiled["deploymentSpec"]["executors"].values()
    for container in (executor["container"] for executor in executors):
        image, _, tag = container["image"].partition(":")
        assert "python" in image
        assert tag
        assert "pip install" not in " ".join(container["command"])


@pytest.mark.parametrize(
    ("version", "stages"),
    [
        ("dataset_version", {"import-dataset"}),
        ("unlabeled_version", {"import-dataset"}),
        ("recipe_version", {"profile-dataset"}),
        ("architecture_version", {"choose-network", "probe-batch-size"}),
    ],
)
def test_the_version_of_a_uri_is_in_the_cache_key_of_the_stage_that_reads_it(
    compiled, version, stages
):
    tasks = compiled["root"]["dag"]["tasks"]
    takers = {
        name
        for name, task in tasks.items()
        if (task.get("inputs", {}).get("parameters", {}).get(version) or {}).get(
            "taskOutputParameter"
        )
        == {"outputParameterKey": version, "producerTask": "list-sources"}
    }
    assert takers == stages


def test_the_first_task_is_told_where_checkpoints_go(compiled):
    inputs = compiled["root"]["dag"]["tasks"]["import-dataset"]["inputs"]["parameters"]
    assert inputs["checkpoint_uri"] == {"componentInputParameter": "checkpoint_uri"}


def test_listing_the_sources_and_publishing_are_never_cached(compiled):
    bodies = [each["dag"]["tasks"] for each in compiled["components"].values() if "dag" in each]
    tasks = {
        name: task
        for body in (compiled["root"]["dag"]["tasks"], *bodies)
        for name, task in body.items()
        if not name.startswith(("for-loop", "condition"))
    }
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(tasks) - {"list-sources", "publish"}
