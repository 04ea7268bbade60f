"""Detection from columns of objects to metrics and exported files."""

import types

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from exported_objects import check_float_files, write_int8_file

from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.draw import Drawn, Mix
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.tasks.box_evidence import BoxEvidence
from kfp_vision.components.shared.tasks.detection import Detection, zero_rule_boxes
from kfp_vision.components.shared.tasks.objects import BOX_CLASSES, BOXES, CROWD
from kfp_vision.components.shared.tasks.records import whole_set_metrics

_SIZE = (32, 64)


def _table():
    """Returns images of 64 x 128 pixels: two objects, one, none, and a crowd."""
    columns = {
        "boxes": [[8, 8, 24, 40, 64, 0, 128, 32], [0, 0, 64, 64], [], [32, 32, 64, 64]],
        "box_classes": [[1, 0], [1], [], [0]],
        "crowd": [[False, False], [False], [], [True]],
        "height": [64] * 4,
        "width": [128] * 4,
    }
    fields = [BOXES, BOX_CLASSES, CROWD, ("height", pa.int32()), ("width", pa.int32())]
    return pa.table(columns, schema=pa.schema(fields))


def _targets():
    return Detection().open_targets(_table(), _SIZE, 2)(np.arange(4))


def _augmented(magnitudes, weights=1.0, cut=(0, 0, 0, 0), mosaics=False):
    drawn = np.tile([magnitudes.get(name, 0.0) for name in PIXEL_TRANSFORMS], (4, 1))
    shares = tf.fill([4], float(weights))
    mix = Mix(tf.constant([1, 2, 3, 0]), shares, tf.constant([cut] * 4), tf.fill([4], mosaics))
    signs = tf.ones(drawn.shape)
    return Augmented(
        tf.zeros([4, *_SIZE, 3]),
        Drawn(tf.constant(drawn, tf.float32), signs, tf.zeros([4, 4], tf.int32)),
        mix,
        shares,
    )


def _moved(*args, **kwargs):
    ((share, moved),) = Detection().augment_targets(_targets(), _augmented(*args, **kwargs))
    assert share.numpy().tolist() == [1.0] * 4
    return {name: np.asarray(value) for name, value in moved.items()}


def test_targets_are_in_pixels_of_the_input():
    targets = _targets()
    assert targets["boxes"][0].tolist() == [[4, 4, 12, 20], [32, 0, 64, 16]]
    assert targets["input_size"].tolist() == [[32, 64]] * 4


def test_boxes_are_mirrored_with_their_image():
    moved = _moved({"horizontal_flip": 1.0})
    np.testing.assert_allclose(moved["boxes"][0, :2], [[52, 4, 60, 20], [0, 0, 32, 16]], atol=1e-4)
    # The places of others are empty: nothing is mixed.
    assert moved["box_classes"][:, :2].tolist() == [[1, 0], [1, -1], [-1, -1], [0, -1]]
    assert (moved["box_classes"][:, 2:] == -1).all()


def test_boxes_that_leave_the_image_are_gone():
    assert _moved({"translate_x": 1.0})["box_classes"][0].tolist() == [1] + [-1] * 7


def test_cutmix_takes_what_the_cut_shows():
    moved = _moved({}, cut=(0, 0, 24, 32))
    assert moved["box_classes"][0].tolist() == [-1, 0, -1, -1, 1, -1, -1, -1]
    np.testing.assert_allclose(moved["boxes"][0, 4], [0, 0, 24, 32], atol=1e-4)


def test_mixup_has_the_objects_of_both_by_their_shares():
    moved = _moved({}, weights=0.7)
    assert moved["box_classes"][0].tolist() == [1, 0, -1, -1, 1, -1, -1, -1]
    np.testing.assert_allclose(moved["share"][0, [0, 1, 4, 5]], [0.7, 0.7, 0.3, 0.3], rtol=1e-6)


def test_a_mosaic_has_the_objects_of_four_images_at_half_their_size():
    moved, still = _moved({}, mosaics=True), _targets()
    assert moved["box_classes"][0].tolist() == [1, 0, -1, -1, 1, -1, 0, -1]
    assert moved["crowd"][0].tolist() == [False] * 6 + [True, False]
    assert (moved["share"] == 1).all()
    # Its own upper left, the partner of the partner beside it; the partner below, then the crowd.
    boxes, half = moved["boxes"][0], still["boxes"] / 2
    np.testing.assert_allclose(boxes[:2], half[0])
    np.testing.assert_allclose(boxes[4], half[1, 0] + [0, 16, 0, 16])
    np.testing.assert_allclose(boxes[6], half[3, 0] + [32, 16, 32, 16])


def test_what_is_right_scores_one():
    task, targets = Detection(), _targets()
    found = {
        "boxes": targets["boxes"],
        "scores": np.tile(np.array([0.9, 0.8], np.float32), (4, 1)),
        "classes": targets["box_classes"],
    }
    records = task.record(targets, found)
    metrics = whole_set_metrics(task, records)
    # Of 16 x 32, 64 x 32 and 64 x 64 pixels as stored.
    assert metrics == pytest.approx(
        dict.fromkeys(("map", "map50", "map75", "map_small", "map_medium"), 1.0)
    )
    shifted = {**found, "boxes": targets["boxes"] + np.array([0, 4, 0, 4], np.float32)}
    assert whole_set_metrics(task, task.record(targets, shifted))["map75"] < 1.0


@pytest.mark.parametrize(
    ("most_objects", "found"), [(0, 100), (100, 100), (151, 200), (4000, 1000)]
)
def test_a_model_finds_as_many_objects_as_images_show(most_objects, found):
    maps = {"heat": tf.zeros([1, 40, 40, 1]), "reach": tf.zeros([1, 40, 40, 4])}
    assert Detection(most_objects).find(maps)["scores"].shape == (1, found)
    # All of a crowded image are judged, too.
    corners = np.stack(np.meshgrid(np.arange(16), np.arange(10)), -1).reshape(-1, 2)[:151] * 8.0
    boxes = np.concatenate([corners, corners + 6], -1).astype(np.float32)[None]
    classes, sizes = np.zeros((1, 151), np.int32), np.array([[80.0, 128.0]], np.float32)
    targets = {"boxes": boxes, "box_classes": classes, "crowd": classes > 0}
    targets |= {"input_size": sizes, "image_size": sizes}
    scores = np.linspace(0.9, 0.5, 151, dtype=np.float32)[None]
    task = Detection(most_objects)
    records = task.record(targets, {"boxes": boxes, "scores": scores, "classes": classes})
    assert (records["class"] == 0).sum() == min(found, 151)


def test_the_zero_rule_is_the_median_box_of_each_class():
    found = zero_rule_boxes(_table(), _SIZE, 3)
    np.testing.assert_allclose(found["boxes"], [[32, 0, 64, 16], [2, 2, 22, 26], [0, 0, 0, 0]])
    np.testing.assert_allclose(found["scores"], [0.25, 0.5, 0.0])


def test_among_images_that_are_all_wrong_none_is_a_good_one():
    task, targets = Detection(), _targets()
    found = {
        "boxes": targets["boxes"],
        "scores": np.full((4, 2), 0.9, np.float32),
        # Of the other class.
        "classes": (targets["box_classes"] + 1) % 2,
    }
    pixels = np.zeros((4, *_SIZE, 3), np.uint8)
    source = types.SimpleNamespace(paths=list("abcd"), take=lambda rows: pixels[rows])
    images = LabelledImages(source, task.open_targets(_table(), _SIZE, 2))  # type: ignore[arg-type]
    evidence = BoxEvidence(["cell", "dot"], images, 4, 0.3)
    evidence.add(targets, found, task.record(targets, found))
    shown = evidence.fields()["pictures"]
    assert {each["kind"] for each in shown} == {"worst"}
    assert {each["score"] for each in shown} == {0.0}


def test_evidence_names_classes_sizes_and_what_was_found():
    task, targets = Detection(), _targets()
    found = {
        "boxes": targets["boxes"],
        "scores": np.tile(np.array([0.9, 0.01], np.float32), (4, 1)),
        "classes": targets["box_classes"],
    }
    pixels = np.zeros((4, *_SIZE, 3), np.uint8)
    source = types.SimpleNamespace(paths=list("abcd"), take=lambda rows: pixels[rows])
    images = LabelledImages(source, task.open_targets(_table(), _SIZE, 2))  # type: ignore[arg-type]
    evidence = BoxEvidence(["cell", "dot"], images, 4, 0.3)
    evidence.add(targets, found, task.record(targets, found))
    fields, table = evidence.fields(), evidence.table()
    assert [row["count"] for row in fields["per_class"]] == [1, 2]
    assert fields["per_class"][1]["ap_small"] == fields["per_class"][1]["ap50"] == 1.0
    assert fields["per_class"][0]["ap_small"] is None
    assert fields["curves"]["precision_recall"]["dot"]["x"] == [0.5, 1.0]
    # Of two objects one was found in the first image, one of one in the second.
    shown = [(each["kind"], each["path"]) for each in fields["pictures"]]
    assert shown == [("worst", "a"), ("worst", "b"), ("best", "b"), ("best", "a")]
    assert fields["pictures"][0]["score"] == pytest.approx(2 / 3)
    first = table.to_pylist()[0]
    assert (first["path"], first["classes"]) == ("a", ["dot"])
    # In pixels of the image as it is stored, not of the model's input.
    assert first["boxes"] == [8, 8, 24, 40]


def test_a_class_that_is_never_found_has_a_curve_at_zero():
    task, targets = Detection(), _targets()
    found = {
        "boxes": targets["boxes"],
        "scores": np.full((4, 2), 0.9, np.float32),
        "classes": np.full_like(targets["box_classes"], 1),
    }
    pixels = np.zeros((4, *_SIZE, 3), np.uint8)
    source = types.SimpleNamespace(paths=list("abcd"), take=lambda rows: pixels[rows])
    images = LabelledImages(source, task.open_targets(_table(), _SIZE, 2))  # type: ignore[arg-type]
    evidence = BoxEvidence(["cell", "dot"], images, 4, 0.3)
    evidence.add(targets, found, task.record(targets, found))
    fields = evidence.fields()
    curves = fields["curves"]["precision_recall"]
    assert list(curves) == ["cell", "dot"]
    assert curves["cell"]["y"] == [0, 0]
    assert curves["cell"]["x"] == [0, 1]
    assert fields["per_class"][0]["ap50"] == 0


def test_losses_without_learning_are_in_order():
    task, targets = Detection(), _targets()
    assert 0 < task.frequency_loss(targets, None) <= task.initial_loss(targets, 2)


def _difference(*batches):
    difference = Detection().new_difference()
    for predictions, expected in batches:
        difference.add(predictions, expected)
    return difference.value


def test_objects_of_equal_scores_may_change_their_places():
    boxes = np.array([[[0.0, 0.0, 8.0, 8.0], [9.0, 9.0, 30.0, 40.0]]])
    said = {"boxes": boxes, "scores": np.array([[0.5, 0.5]]), "classes": np.array([[0, 1]])}
    swapped = {name: each[:, ::-1] for name, each in said.items()}
    assert _difference((said, swapped)) == 0.0
    other = {**said, "scores": np.array([[0.6, 0.5]])}
    assert _difference((other, said)) == pytest.approx(0.1)


def test_one_object_that_differs_among_many_is_no_other_model():
    scores = np.sort(np.random.default_rng(0).uniform(0, 1, (32, 100)))[:, ::-1]
    one = scores.copy()
    one[3, 10] += 0.009
    first, second = {"scores": scores}, {"scores": one}
    assert 0 < _difference((second, first)) < 1e-4
    assert _difference((second, first), (first, first)) == _difference((second, first)) / 2
    assert _difference(({"scores": 0.99 * scores}, first)) == pytest.approx(0.01)


@pytest.mark.long
def test_exported_files_return_the_detections(tmp_path):
    task = Detection()
    images, expected, source = check_float_files(task, 2, tmp_path)
    assert set(expected) == {"boxes", "scores", "classes"}
    path = write_int8_file(source, tmp_path)
    # The maps of int8 are coarse, and what is made of them is not.
    interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    runner = interpreter.get_signature_runner()
    found = runner(pixels=images[:1])
    tensors = interpreter.get_tensor_details()
    maps = {}
    for name in ("heat", "reach"):
        (held,) = (
            each
            for each in tensors
            if each["dtype"] == np.int8 and f"/{name}_1/BiasAdd" in each["name"]
        )
        scale, zero = held["quantization"]
        values = interpreter.get_tensor(held["index"]).astype(np.float32)
        maps[name] = np.float32(scale) * (values - zero)
    for key, values in task.decode(maps).items():
        np.testing.assert_allclose(found[key], values, atol=1e-3, err_msg=key)
