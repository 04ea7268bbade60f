"""Parameters: one list for YAML, command line and pipeline, and clear refusals."""

import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from kfp_vision.components.data_import.readers import FORMATS
from kfp_vision.components.shared.recipe.budget import PRESETS
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.arguments import SHAPE
from kfp_vision.pipelines.parameter_file import read_parameters, render_parameters
from kfp_vision.pipelines.parameters import Parameters, choices_of, help_of, make_parameters
from kfp_vision.pipelines.training import training_pipeline

REQUIRED: dict[str, Any] = {"dataset_uri": "images", "output_uri": "out"}
LAUNCHER_ONLY = {"checkpoint_uri"}


def test_the_pipeline_takes_exactly_these_parameters_with_these_defaults():
    inputs = training_pipeline(trial_workers=1).component_spec.inputs
    found = {
        name: (spec.default, spec.description)
        for name, spec in inputs.items()
        if name not in LAUNCHER_ONLY
    }
    assert found == {
        field.name: (
            None if field.default is dataclasses.MISSING else field.default,
            help_of(field),
        )
        for field in dataclasses.fields(Parameters)
        if field.name not in SHAPE
    }


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("dataset_format", ["auto", *FORMATS, "tfds"]),
        ("task", ["auto", *TASKS]),
        ("preset", [*PRESETS]),
    ],
)
def test_the_choices_are_what_there_is(name, known):
    (field,) = (each for each in dataclasses.fields(Parameters) if each.name == name)
    assert sorted(choices_of(field)) == sorted(known)


def test_the_rendered_file_is_the_defaults():
    content = yaml.safe_load(render_parameters())
    assert Parameters(**content | REQUIRED) == Parameters(**REQUIRED)


def test_the_command_line_goes_before_the_file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("dataset_uri: images\noutput_uri: out\nepochs: 3\nlearning_rate: 1\n")
    parameters = read_parameters(path, {"epochs": 5})
    assert (parameters.epochs, parameters.learning_rate) == (5, 1.0)
    assert isinstance(parameters.learning_rate, float)


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(Parameters) if field.type is bool]
)
def test_a_switch_can_be_turned_off_on_the_command_line(kfp_vision_here, name):
    answer = kfp_vision_here("run", f"--no-{name.replace('_', '-')}")
    assert "`dataset_uri` must be set" in answer.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bach_size: 3", "Received: 'bach_size'. Did you mean batch_size"),
        ("zebra: 3", "They are: dataset_uri"),
        ("epochs: ten", r"`epochs` must be of type int. Received: 'ten' \(str\)"),
        ("epochs: true", r"`epochs` must be of type int. Received: True \(bool\)"),
        ("epochs: 1.5", "`epochs` must be of type int. Received: 1.5"),
        ("epochs: [1, 2]", "`epochs` must be of type int. Received: several values"),
        ("task: {a: b}", "`task` must be of type str"),
        ("learn_batch_size: maybe", "`learn_batch_size` must be of type bool. Received: 'maybe'"),
        ("max_minutes: 1:30", "`max_minutes` must be of type float. Received: 1:30"),
        ("learning_rate: nan", "`learning_rate` must be finite"),
        ("learning_rate: 1e400", "`learning_rate` must be finite"),
        ("epochs: 3\nepochs: 5", "must be set once. Received: epochs twice"),
        ("batch-size: 3", "Received: 'batch-size'. Did you mean batch_size"),
        ("output: x", "Received: 'output'. Did you mean output_uri"),
        ("1: x", "Received: '1'"),
        ("seed: 1\n---\nseed: 2", "must be YAML"),
        ("seed: -1", "must not be negative"),
        (f"seed: {2**53}", f"`seed` must be at most {2**53 - 1}. Received: {2**53}"),
        ("seed: 9223372036854775808", "`seed` must be at most"),
        (f"seed: {10**400}", "`seed` must be"),
        ("learning_rate: inf", "`learning_rate` must be finite. Received: inf"),
        ("max_minutes: -inf", "`max_minutes` must not be negative.*must be finite"),
        ("trial_workers: 0", "`trial_workers` must be at least 1. Received: 0"),
        ("teacher_workers: 0", "`teacher_workers` must be at least 1. Received: 0"),
        ("teachers: 101", "`teachers` must be at most 100. Received: 101"),
        (
            "task: clasify",
            f"`task` must be one of auto, {', '.join(TASKS)}. Received: 'clasify'",
        ),
        ("dataset_format: zip", "`dataset_format` must be one of auto, class_folders"),
        ("preset: slow", "`preset` must be one of fast, balanced, best. Received: 'slow'"),
        ("optimizer: adam", "`optimizer` must be one of auto, adamw"),
        ("dataset_uri: ''", "`dataset_uri` must be set.*`output_uri` must be set"),
        ("- epochs", "must hold `name: value` lines"),
        ("epochs: [", "must be YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_parameters(path, {} if "dataset_uri" in text else REQUIRED)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("learning_rate: 1e-3", 0.001),
        ("learning_rate: '1e-3'", 0.001),
        ("learning_rate: 1E3", 1000.0),
        ("learning_rate: 1", 1.0),
        ("epochs: 1e3", 1000),
        ("epochs: 64.0", 64),
        ("epochs: '7'", 7),
        ("epochs: 1_000", 1000),
        ("seed: 010", 10),
        (f"seed: {2**53 - 1}", 2**53 - 1),
        ("learn_batch_size: no", False),
        ("learn_batch_size: 'False'", False),
        ("learn_batch_size: OFF", False),
        ("learn_batch_size: 0", False),
        ("learn_batch_size: 1", True),
        ("positive_class: 1.10", "1.10"),
        ("positive_class: 007", "007"),
        ("positive_class: 2024-13-45", "2024-13-45"),
        ("positive_class: on", "on"),
        ("accept_findings: [imbalance, small_set]", "imbalance,small_set"),
        ("accept_findings: imbalance,small_set", "imbalance,small_set"),
    ],
)
def test_a_value_is_what_its_parameter_wants_whatever_yaml_takes_it_for(tmp_path, line, value):
    path = tmp_path / "params.yaml"
    path.write_text(line + "\n")
    read = getattr(read_parameters(path, REQUIRED), line.partition(":")[0])
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("empty", ["", "~", "null", "''"])
@pytest.mark.parametrize("name", ["epochs", "task", "learn_batch_size", "recipe_uri"])
def test_what_is_empty_is_not_set(tmp_path, name, empty):
    path = tmp_path / "params.yaml"
    path.write_text(f"{name}: {empty}\n")
    assert read_parameters(path, REQUIRED) == Parameters(**REQUIRED)


def test_an_empty_file_sets_nothing(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("# Nothing yet.\n")
    assert read_parameters(path, REQUIRED | {"task": ""}) == Parameters(**REQUIRED)


@pytest.mark.parametrize(
    "name", ["dataset_uri", "output_uri", "unlabeled_uri", "recipe_uri", "architecture"]
)
@pytest.mark.parametrize("given_by", ["file", "option"])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/some dir", "{home}/some dir"),
        ("file://~/x", "file://{home}/x"),
        ("a~/b", "a~/b"),
        ("s3://bucket/~/x", "s3://bucket/~/x"),
        ("~no such user/x", "~no such user/x"),
    ],
)
def test_the_home_folder_is_found_in_every_path(
    tmp_path, monkeypatch, name, given_by, written, meant
):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "params.yaml"
    path.write_text(f"{name}: {written}\n" if given_by == "file" else "")
    options = {name: written} if given_by == "option" else {}
    read = read_parameters(path, {n: v for n, v in REQUIRED.items() if n != name} | options)
    assert getattr(read, name) == meant.format(home=tmp_path)


@pytest.mark.parametrize(
    "dataset", ["photos", "a/photos/", "s3://bucket/photos", "tfds:photos", "photos.csv"]
)
def test_without_an_output_its_name_is_that_of_the_dataset(dataset):
    assert make_parameters({"dataset_uri": dataset}).output_uri == "out/photos"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": "ten"}, "`epochs` must be of type int. Received: 'ten'"),
        ({"epochs": True}, "`epochs` must be of type int. Received: True"),
        ({"seed": 1.0}, "`seed` must be of type int. Received: 1.0"),
        ({"follow_links": 1}, "`follow_links` must be of type bool. Received: 1"),
        ({"dataset_uri": 7}, "`dataset_uri` must be of type str. Received: 7"),
        ({"epoch": 1}, "Received: 'epoch'. Did you mean epochs"),
    ],
)
def test_python_values_of_the_wrong_type_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        make_parameters(REQUIRED | given)


def test_python_may_give_paths_and_whole_numbers():
    made = make_parameters({"dataset_uri": Path("a/b"), "output_uri": "out", "learning_rate": 1})
    assert made == Parameters("a/b", "out", learning_rate=1.0)


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match="kfp-vision init"):
        read_parameters(tmp_path / "params.yaml", REQUIRED)


def test_the_form_offers_every_reader():
    assert {"auto", *FORMATS, "tfds"} == {*get_args(get_type_hints(Parameters)["dataset_format"])}


@pytest.mark.parametrize(
    "wish",
    [
        {"pretrain": "always"},
        {"self_train": "always"},
        {"distill": "always"},
        {"teachers": 2},
        {"deploy": "ensemble"},
    ],
)
def test_what_validation_images_judge_and_training_with_them_exclude_each_other(wish):
    Parameters(**REQUIRED, **wish)
    with pytest.raises(ValueError, match=r"`use_validation_for_training` must be false with `"):
        Parameters(**REQUIRED, **wish, use_validation_for_training=True)


def test_an_ensemble_that_is_deployed_is_not_taught():
    with pytest.raises(ValueError, match="`deploy` must be `model` where `distill` is `always`"):
        Parameters(**REQUIRED, deploy="ensemble", distill="always")
