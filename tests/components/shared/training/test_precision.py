"""Training in bfloat16 goes where that in float32 goes, and ends in the same kind of file.

The digits are real and the CPU computes in bfloat16 as an accelerator does, only slowly.
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import kernels

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import from_recipe, resolve
from kfp_vision.components.shared.recipe.training_values import PRECISIONS
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.precision import (
    choose_precision,
    find_accelerator,
    read_precision,
    set_precision,
)
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import Trainer
from kfp_vision.components.training.train import train_model

MIXED = "mixed_bfloat16"
DATA = {
    "class_weights": Setting(None, "balanced"),
    "primary_metric": Setting("accuracy", "balanced"),
    "positive_class": Setting(None, "none"),
}


@pytest.mark.parametrize(
    ("kind", "capability", "expected"),
    [
        ("CPU", None, "float32"),
        ("TPU", None, MIXED),
        ("GPU", None, "float32"),  # Not from NVIDIA.
        ("GPU", (3, 7), "float32"),  # K80
        ("GPU", (7, 0), "float32"),  # V100
        ("GPU", (7, 5), "float32"),  # T4
        ("GPU", (8, 0), MIXED),  # A100
        ("GPU", (8, 9), MIXED),  # L4
        ("GPU", (9, 0), MIXED),  # H100
        ("GPU", (10, 0), MIXED),  # B200
    ],
)
def test_auto_is_bfloat16_where_the_hardware_has_it(kind, capability, expected):
    assert choose_precision("auto", kind, capability) == expected
    for setting in PRECISIONS[1:]:
        assert choose_precision(setting, kind, capability) == setting


def test_this_machine_is_what_tensorflow_finds():
    kind, capability = find_accelerator()
    assert (kind == "GPU") == bool(tf.config.list_physical_devices("GPU"))
    assert capability is None or capability >= (1, 0)


def nested_model():
    """A model within a model, an operation that is no layer, and scaled pixels."""
    pixels = keras.Input((16, 16, 3))
    inner = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.ReLU()])
    maps = inner(layers.Rescaling(1 / 255)(pixels))
    pooled = layers.GlobalAveragePooling2D()(maps * 2.0)
    return keras.Model(pixels, layers.Dense(5)(layers.Dropout(0.1)(pooled)))


def zoo_model(name):
    return build_model(name, get_task("multiclass"), (64, 64, 3), 5, dropout=0.1)


@pytest.mark.parametrize(
    "build", [nested_model, lambda: zoo_model("separable")], ids=["nested", "separable"]
)
def test_weights_pixels_and_logits_stay_float32_and_all_comes_back(build):
    model, images = build(), np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3))
    images = images[:, : model.input_shape[1], : model.input_shape[2]].astype(np.float32)
    exact, config = model(images), model.get_config()
    set_precision(model, MIXED)
    assert read_precision(model) == MIXED
    rounded = model(images)
    assert rounded.dtype == tf.float32
    assert {each.dtype for each in model.weights} == {"float32"}
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.05
    set_precision(model, "float32")
    assert read_precision(model) == "float32"
    assert model.get_config() == config
    np.testing.assert_array_equal(model(images), exact)


@pytest.mark.parametrize(
    "name",
    ["separable", "resnet20", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)],
)
def test_gpus_have_bfloat16_kernels_for_all_that_a_step_computes(name):
    """The operations of a traced step, looked up in what this TensorFlow has for GPUs."""
    model = zoo_model(name)
    set_precision(model, MIXED)
    settings = from_recipe(resolve(Recipe(), {}, num_images=100))
    trainer = Trainer(model, get_task("multiclass"), settings)
    spec = tf.TensorSpec((8, 64, 64, 3), tf.uint8), {"label": tf.TensorSpec((8,), tf.int32)}
    step = tf.function(trainer._train_step).get_concrete_function(*spec, tf.constant(0.1))
    bfloat16 = types_pb2.DT_BFLOAT16
    graph = step.graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    used = {node.op for node in nodes if node.attr["T"].type == bfloat16}
    assert {"Conv2D", "Conv2DBackpropFilter"} <= used
    for operation in used:
        registered = kernels.get_registered_kernels_for_op(operation).kernel
        types = {
            each
            for kernel in registered
            if kernel.device_type in ("GPU", "DEFAULT")
            for constraint in kernel.constraint
            for each in constraint.allowed_values.list.type
        }
        assert bfloat16 in types or not types, operation


@pytest.fixture(scope="module")
def trained_in_both(digits_dir: Path, small_model: str):
    """Losses [160] and test logits of trainings that differ in the precision alone."""
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    config = UserChoices(architecture=small_model, epochs=8, batch_size=50)
    recipe = complete_recipe(Recipe({"data": DATA}), info, config)
    train, validation = (open_split(digits_dir, each, recipe) for each in ("train", "validation"))
    found = {}
    for precision in PRECISIONS[1:]:
        trainer, _, settings = build_trainer(recipe, info, 0, precision=precision)
        order = BatchOrder(len(train), settings.batch_size, 0)
        batches = train.take(order.indices(0, settings.steps))
        rates = warmup_cosine(np.arange(settings.steps), 3e-3, 10, settings.steps)
        losses = trainer.run_steps(*batches, rates).losses
        images, targets = validation.take(np.arange(len(validation)))
        found[precision] = losses, trainer.outputs(images), targets["label"]
    return found


def test_the_loss_falls_alike(trained_in_both):
    exact, rounded = (trained_in_both[each][0] for each in PRECISIONS[1:])
    assert (exact != rounded).any()
    np.testing.assert_allclose(rounded[:5], exact[:5], rtol=0.02)
    assert rounded[-20:].mean() == pytest.approx(exact[-20:].mean(), rel=0.05)
    assert rounded[-20:].mean() < 0.6 * rounded[:5].mean()


def test_the_decisions_are_alike(trained_in_both):
    (_, exact, labels), (_, rounded, _) = (trained_in_both[each] for each in PRECISIONS[1:])
    assert rounded.dtype == exact.dtype == np.float32
    accuracies = [(logits.argmax(axis=1) == labels).mean() for logits in (exact, rounded)]
    assert min(accuracies) > 0.9
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean() > 0.95


def train(digits_dir: Path, small_model: str, folder: Path, epochs: int):
    user = {"precision": Setting(MIXED, "test", source="user")}
    write_recipe(Recipe({"data": DATA, "training": user}), folder / "in.json")
    config = UserChoices(architecture=small_model, epochs=epochs, batch_size=50)
    return train_model(digits_dir, folder / "in.json", folder / "model", folder / "state", config)


def test_the_saved_model_is_one_of_float32(digits_dir, small_model, tmp_path):
    summary = train(digits_dir, small_model, tmp_path, epochs=8)
    assert summary.precision == MIXED
    model = keras.models.load_model(tmp_path / "model/model.keras", safe_mode=True)
    assert read_precision(model) == "float32"
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert summary.validation["accuracy"] > 0.9


@pytest.mark.slow
def test_what_bfloat16_has_trained_passes_in_all_formats(digits_dir, small_model, tmp_path):
    train(digits_dir, small_model, tmp_path, epochs=40)
    evaluation = tmp_path / "evaluation"
    evaluate_model(digits_dir, tmp_path / "model", evaluation, EvaluateConfig(num_resamples=100))
    exports = export_model(digits_dir, evaluation, tmp_path / "exports", ExportConfig())
    assert len(exports) == 5
    assert [each.reason for each in exports if not each.passed] == []


def test_a_precision_that_does_not_exist_is_refused():
    user = {"precision": Setting("float16", "test", source="user")}
    with pytest.raises(ValueError, match="`precision` must be one of.*Received: 'float16'"):
        resolve(Recipe({"training": user}), {}, num_images=100)


def test_the_setting_is_part_of_the_hyperparameters():
    settings = from_recipe(resolve(Recipe(), {}, num_images=100))
    assert dataclasses.asdict(settings)["precision"] == "auto"
