"""The compiled pipeline: what a Kubeflow Pipelines server gets."""

import dataclasses
import subprocess
import sys
from typing import get_args

import pytest
import yaml

from kfp_vision.components.shared.artifacts.dataset_info import SPLITS
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.shared.recipe.budget import PRESETS
from kfp_vision.components.shared.recipe.teachers import Deployed
from kfp_vision.components.shared.recipe.training_values import OPTIMIZERS
from kfp_vision.components.shared.recipe.unlabeled import Arm
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.retraining.triggers import LocalTime, Triggers


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, kfp_vision):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    answer = kfp_vision("compile", path)
    assert answer.returncode == 0, answer.stderr
    pipeline, _ = yaml.safe_load_all(path.read_text())
    return pipeline


@pytest.fixture(scope="module")
def shared(tmp_path_factory, kfp_vision):
    """For several workers."""
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    answer = kfp_vision("compile", path, "--trial-workers", 2, "--teacher-workers", 2)
    assert answer.returncode == 0, answer.stderr
    return next(yaml.safe_load_all(path.read_text()))


def test_compiling_imports_neither_tensorflow_nor_keras(tmp_path):
    code = (
        "import sys; from kfp import compiler;"
        "from kfp_vision.pipelines.training import training_pipeline;"
        f"compiler.Compiler().compile(training_pipeline(2), {str(tmp_path / 'pipeline.yaml')!r});"
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
    assert "probe-batch-size" in tasks["search-policy"]["dependentTasks"]
    assert "search-policy" in tasks["train-model"]["dependentTasks"]


def test_a_run_with_one_worker_takes_at_most_12_tasks_and_30_pods(compiled):
    tasks = compiled["root"]["dag"]["tasks"]
    executors = [compiled["components"][task["componentRef"]["name"]] for task in tasks.values()]
    assert all("executorLabel" in each for each in executors)
    assert len(executors) <= 12
    # A driver and an executor for each task, and the driver of the whole.
    assert 1 + 2 * len(executors) <= 30


def test_one_worker_runs_the_search_in_one_task(compiled):
    tasks = compiled["root"]["dag"]["tasks"]
    assert "search-policy" in tasks
    assert not [name for name in tasks if name.startswith(("for-loop", "condition", "propose"))]
    # One DAG, without pods that only hold others.
    assert not [name for name, each in compiled["components"].items() if "dag" in each]


def _loops_over(pipeline, task):
    """Returns the loops over one task, in their order."""
    found = []
    for name, each in pipeline["root"]["dag"]["tasks"].items():
        component = pipeline["components"][each["componentRef"]["name"]]
        if name.startswith("for-loop") and next(iter(component["dag"]["tasks"])).startswith(task):
            found.append(name)
    return sorted(found, key=lambda name: int(name.rpartition("-")[2]))


def test_several_workers_share_the_rounds_of_the_search(shared):
    tasks = shared["root"]["dag"]["tasks"]
    loops = _loops_over(shared, "run-trials")
    proposals = ["propose-first-trials", *_numbered("propose-next-trials", len(ROUNDS) - 1)]
    assert len(loops) == len(ROUNDS)
    assert set(proposals) <= tasks.keys()
    # Never over an empty list: what collects it would fail.
    assert {tasks[loop]["parameterIterator"]["items"]["raw"] for loop in loops} == {"[0, 1]"}
    # Every round is proposed from the trials before it, and proposals are artifacts.
    for loop, before in zip(loops, proposals, strict=True):
        assert before in tasks[loop]["dependentTasks"]
        assert f"pipelinechannel--{before}-proposal" in tasks[loop]["inputs"]["artifacts"]
    for loop, after in zip(loops, [*proposals[1:], "decide-trials"], strict=True):
        assert loop in tasks[after]["dependentTasks"]


def test_no_list_of_trials_is_an_argument(shared):
    kinds = {
        spec["parameterType"]
        for component in shared["components"].values()
        for spec in component.get("inputDefinitions", {}).get("parameters", {}).values()
    }
    assert "LIST" not in kinds


def _numbered(name, count):
    return [name, *(f"{name}-{number}" for number in range(2, count + 1))]


def test_a_task_downloads_the_images_that_it_reads_and_no_others(compiled, shared):
    parts = {"dataset_info", "trial_start", "train_sample", "calibration", *SPLITS}
    read = {
        name.removeprefix("comp-"): parts & set(component["inputDefinitions"].get("artifacts", {}))
        for name, component in (compiled["components"] | shared["components"]).items()
        if {"executorLabel", "inputDefinitions"} <= component.keys() and not name[-1].isdigit()
    }
    trained = {"dataset_info", "train", "validation"}
    assert {name: splits for name, splits in read.items() if splits} == {
        "profile-dataset": {"dataset_info", *SPLITS},
        "choose-network": trained,
        "probe-batch-size": {"dataset_info", "train"},
        "search-augmentation": trained,
        "run-trials": {"dataset_info", "trial_start"},
        "search-policy": trained,
        "decide-trials": {"dataset_info"},
        "train-model": trained | {"unlabeled"},
        "train-model-alone": trained | {"unlabeled"},
        "train-members": trained,
        "teach-model": trained | {"unlabeled"},
        "evaluate-model": {"dataset_info", "train_sample", "validation", "test"},
        "export-model": {"dataset_info", "calibration", "test"},
    }


def test_the_form_shows_the_values_of_a_parameter_as_a_menu(compiled):
    inputs = compiled["root"]["inputDefinitions"]["parameters"]
    menus = {name: each["literals"] for name, each in inputs.items() if "literals" in each}
    assert menus.pop("task") == ["auto", *TASKS]
    assert menus.pop("optimizer") == ["auto", *OPTIMIZERS]
    assert menus.pop("preset") == list(PRESETS)
    arms = [menus.pop(name) for name in ("pretrain", "self_train", "distill")]
    assert arms == [list(get_args(Arm))] * 3
    assert menus.pop("deploy") == list(get_args(Deployed))
    assert menus.pop("champion_rule") == ["not_worse", "better"]
    assert "manifest" in menus.pop("dataset_format")
    switches = {name for name, each in inputs.items() if each["parameterType"] == "BOOLEAN"}
    assert menus == dict.fromkeys(switches, [True, False])
    # A menu without its default would ask for a choice.
    assert all(
        each["defaultValue"] in each["literals"] for each in inputs.values() if "literals" in each
    )
    assert all(each["description"] for each in inputs.values())


def test_the_training_takes_the_recipe_of_the_search(compiled):
    inputs = compiled["root"]["dag"]["tasks"]["train-model"]["inputs"]["artifacts"]
    assert inputs["recipe"]["taskOutputArtifact"]["producerTask"] == "search-policy"


def test_several_tasks_train_the_networks_beside_the_model(shared):
    tasks = shared["root"]["dag"]["tasks"]
    assert "train-model" not in tasks
    (name,) = _loops_over(shared, "train-members")
    loop = tasks[name]
    assert loop["parameterIterator"]["items"]["raw"] == "[0, 1]"
    (inner,) = shared["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values()
    assert inner["componentRef"]["name"] == "comp-train-members"
    assert inner["inputs"]["parameters"]["workers"]["runtimeValue"]["constant"] == 2
    inputs = tasks["teach-model"]["inputs"]["artifacts"]
    assert inputs["trained"]["taskOutputArtifact"]["producerTask"] == "train-model-alone"
    judged = tasks["evaluate-model"]["inputs"]["artifacts"]
    assert judged["model"]["taskOutputArtifact"]["producerTask"] == "teach-model"
    assert judged["train_sample"]["taskOutputArtifact"]["producerTask"] == "train-model-alone"


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
        # Publishing is never cached: it keeps how the images were imported.
        ("dataset_version", {"import-dataset", "publish"}),
        ("split_version", {"import-dataset", "publish"}),
        ("champion_version", {"evaluate-model"}),
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


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory, kfp_vision):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    answer = kfp_vision("compile", path, "--scheduled")
    assert answer.returncode == 0, answer.stderr
    return next(yaml.safe_load_all(path.read_text()))


def test_a_schedule_decides_first_and_all_else_waits_for_it(scheduled, compiled):
    tasks = scheduled["root"]["dag"]["tasks"]
    (condition,) = tasks.keys() - {"decide-retraining"}
    assert "decide-retraining-train'] == true" in tasks[condition]["triggerPolicy"]["condition"]
    nested = scheduled["components"][tasks[condition]["componentRef"]["name"]]["dag"]["tasks"]
    assert nested.keys() == compiled["root"]["dag"]["tasks"].keys() - {"list-sources"}
    assert not tasks["decide-retraining"]["cachingOptions"].get("enableCache")


def test_the_first_task_of_a_schedule_says_what_that_of_a_run_says(scheduled, compiled):
    listed, decided = (
        each["components"][f"comp-{name}"]["outputDefinitions"]
        for each, name in ((compiled, "list-sources"), (scheduled, "decide-retraining"))
    )
    assert decided["artifacts"] == listed["artifacts"]
    assert decided["parameters"].keys() == {*("train", "reason", "run_seed", *listed["parameters"])}
    # Every stage has the seed of the decision.
    (condition,) = (each for name, each in scheduled["components"].items() if "condition" in name)
    seeds = {
        task["inputs"]["parameters"]["seed"]["componentInputParameter"]
        for task in condition["dag"]["tasks"].values()
        if "seed" in task.get("inputs", {}).get("parameters", {})
    }
    assert seeds == {"pipelinechannel--decide-retraining-run_seed"}


def test_every_trigger_is_an_input_of_a_schedule_and_of_no_run(scheduled, compiled):
    ours, theirs = (
        set(each["root"]["inputDefinitions"]["parameters"]) for each in (scheduled, compiled)
    )
    triggers = {field.name for kind in (Triggers, LocalTime) for field in dataclasses.fields(kind)}
    assert ours - theirs == triggers
    assert theirs <= ours
