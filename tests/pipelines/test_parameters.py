"""Parameters: one list for YAML, command line and pipeline, and clear refusals."""

import dataclasses

import pytest
import yaml

from kfp_vision.pipelines.parameters import Parameters, read_parameters, render_parameters
from kfp_vision.pipelines.training import training_pipeline

REQUIRED = {"dataset_uri": "images", "output_uri": "out"}
LAUNCHER_ONLY = {"source_version", "checkpoint_uri"}


def test_the_pipeline_takes_exactly_these_parameters_with_these_defaults():
    inputs = training_pipeline.component_spec.inputs
    defaults = {name: spec.default for name, spec in inputs.items() if name not in LAUNCHER_ONLY}
    fields = {field.name: field.default for field in dataclasses.fields(Parameters)}
    assert defaults == fields | {"dataset_uri": None, "output_uri": None}


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
def test_a_switch_can_be_turned_off_on_the_command_line(kfp_vision, name):
    answer = kfp_vision("run", f"--no-{name.replace('_', '-')}")
    assert "`dataset_uri` must be set" in answer.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bach_size: 3", "Received: 'bach_size'. Did you mean batch_size"),
        ("zebra: 3", "They are: dataset_uri"),
        ("epochs: ten", r"`epochs` must be of type int. Received: 'ten' \(str\)"),
        ("epochs: true", r"`epochs` must be of type int. Received: True \(bool\)"),
        ("epochs: 1.5", "`epochs` must be of type int"),
        ("seed: -1", "must not be negative"),
        ("trial_workers: 0", "`trial_workers` must be at least 1. Received: 0"),
        ("task: clasify", "`task` must be one of"),
        ("optimizer: adam", "`optimizer` must be empty or one of"),
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


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match="kfp-vision init"):
        read_parameters(tmp_path / "params.yaml", REQUIRED)
