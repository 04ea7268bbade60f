"""The champion on the newest images: against its test in the same mix of classes."""

import dataclasses
import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from kfp_vision.components.data_import.chosen_files import labelled_files
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.metrics.intervals import wilson_interval
from kfp_vision.pipelines.retraining.newest_images import _Answers, _compare, measure_champion

CARD = ModelCard("multiclass", ["easy", "hard", "rare"], [8, 8], 1)


def compare(card, metric, tested, newest) -> Any:
    return _compare(card, metric, None, tested, newest)


def answers(**right_of):
    """Returns answers: class -> (right, all) images."""
    labels, probabilities = [], []
    for name, (right, count) in right_of.items():
        place = CARD.classes.index(name)
        labels += [name] * count
        given = np.where(np.arange(count) < right, place, (place + 1) % 3)
        probabilities.append(np.eye(3)[given])
    return _Answers(labels, np.concatenate(probabilities))


def test_more_images_of_a_hard_class_are_no_drop():
    tested = answers(easy=(100, 100), hard=(50, 100))
    newest = answers(easy=(10, 10), hard=(45, 90))
    score = compare(CARD, "accuracy", tested, newest)
    assert (score.tested, score.newest) == (pytest.approx(0.55), pytest.approx(0.55))
    assert score.num_images == 100
    # The weights 0.1 and 0.9 leave 122 of 200 images.
    assert score.tested_ci95 == pytest.approx(wilson_interval(0.55, 100**2 / 82))


def test_a_drop_within_a_class_is_one():
    tested = answers(easy=(100, 100), hard=(50, 100))
    newest = answers(easy=(5, 10), hard=(45, 90))
    score = compare(CARD, "accuracy", tested, newest)
    assert (score.tested, score.newest) == (pytest.approx(0.55), pytest.approx(0.5))


def test_classes_without_a_test_image_are_not_compared():
    tested, newest = answers(easy=(90, 100)), answers(easy=(9, 10), rare=(0, 30))
    score = compare(CARD, "accuracy", tested, newest)
    assert (score.newest, score.tested) == (pytest.approx(0.9), pytest.approx(0.9))
    assert score.num_images == 10
    assert compare(CARD, "accuracy", tested, answers(rare=(0, 3))) is None


@pytest.mark.parametrize("metric", ["average_precision", "auroc", "balanced_accuracy"])
def test_a_metric_of_weighted_images_is_that_of_as_many_copies(metric):
    random = np.random.default_rng(0)
    labels = ["easy"] * 60 + ["hard"] * 30
    probabilities = random.dirichlet([1, 1, 1], 90)
    # A tenth of the images of one class, and a fifth of those of the other.
    newest = _Answers(["easy"] * 6 + ["hard"] * 6, probabilities[:12])
    copies = _Answers([*labels, *labels[60:]], np.concatenate([probabilities, probabilities[60:]]))
    score = compare(CARD, metric, _Answers(labels, probabilities), newest)
    again = compare(CARD, metric, copies, newest)
    assert score.tested == pytest.approx(again.tested, abs=1e-6)


def test_images_of_no_class_are_compared_with_their_like():
    card = ModelCard("multilabel", ["a", "b"], [8, 8], 1)
    rows = np.array([[0.9, 0.1], [0.1, 0.1], [0.9, 0.9]])
    tested = _Answers(["a", "", "a|b"], rows)
    newest = _Answers(["a", "a", "", ""], rows[[0, 0, 2, 1]])
    score = compare(card, "micro_f1", tested, newest)
    assert score.num_images == 4
    assert score.tested == 1.0
    # Two hits; two marks too many.
    assert score.newest == pytest.approx(2 * 2 / (2 + 4))


def test_images_of_no_class_are_listed(tmp_path):
    for number in range(3):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    (tmp_path / "labels.csv").write_text("path,labels\n0.png,a|b\n1.png,\n2.png,b\n")
    found = {path: labels for path, labels, _ in labelled_files(str(tmp_path), "auto", "", False)}
    assert found == {"0.png": ("a", "b"), "1.png": (), "2.png": ("b",)}


def brightness_model(path):
    """Writes a model: the probability of `bright` is the mean of the pixels over 255."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["bright", "dark"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 8, 8, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor("white", TensorProto.FLOAT, [1], [255.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_the_champion_is_measured_on_what_it_has_not_read(tmp_path, crown):
    photos, files = tmp_path / "photos", tmp_path / "files"

    def save(name, count, gray):
        (photos / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = photos / name / f"{gray}-{number}.png"
            Image.new("L", (8, 8), gray).save(path)

    save("bright", 20, 200)
    save("dark", 20, 50)
    card = ModelCard("multiclass", ["bright", "dark"], [8, 8], 1)
    (files / "model").mkdir(parents=True)
    brightness_model(files / "model/model.onnx")
    (files / "model/model.json").write_text(json.dumps(dataclasses.asdict(card)))
    labels = ["bright"] * 10 + ["dark"] * 10
    # Of the bright ones half are right, of the dark ones all.
    bright = [0.8] * 5 + [0.2] * 5 + [0.2] * 10
    table = {"label": labels, "p_bright": bright, "p_dark": [1 - each for each in bright]}
    uri = crown(files, photos, "accuracy", table)
    images = (str(photos), "auto", "", False)
    assert measure_champion(uri, *images) is None
    # Three dark ones that look bright, and one bright one.
    save("dark", 3, 210)
    save("bright", 1, 220)
    score: Any = measure_champion(uri, *images)
    assert (score.metric, score.num_images) == ("accuracy", 4)
    assert score.newest == pytest.approx(0.25)
    assert score.tested == pytest.approx((3 * 1.0 + 1 * 0.5) / 4)
    save("blue", 1, 100)
    score = measure_champion(uri, *images)
    assert score.unknown == ["blue"]
