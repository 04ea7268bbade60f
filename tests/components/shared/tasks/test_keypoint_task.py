"""Keypoints from columns of objects to metrics, evidence and exported files."""

import shutil
import types

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from exported_objects import check_float_files, write_int8_file
from PIL import Image, ImageDraw
from scenes import write_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.evaluation.formats import FORMATS
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.draw import Drawn, Mix
from kfp_vision.components.shared.augmentation.geometry import warp
from kfp_vision.components.shared.augmentation.targets import moves
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.heads.centre_detector import CELL
from kfp_vision.components.shared.losses.keypoints import point_targets
from kfp_vision.components.shared.tasks import get_task, task_of
from kfp_vision.components.shared.tasks.keypoint_baselines import (
    predict_keypoint_baselines,
    usual_poses,
)
from kfp_vision.components.shared.tasks.keypoint_evidence import KeypointEvidence
from kfp_vision.components.shared.tasks.objects import BOX_CLASSES, BOXES, CROWD, KEYPOINTS
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics

_SIZE, _NAMES = (32, 64), ["nose", "left ear", "right ear"]
_TASK = get_task("keypoints", _NAMES, [[1, 2]])


def _table(**columns):
    """Returns images of 64 x 128 pixels: two objects, one, none, and a crowd."""
    held = {
        "boxes": [[8, 8, 24, 40, 64, 0, 128, 32], [0, 0, 64, 64], [], [32, 32, 64, 64]],
        "box_classes": [[1, 0], [1], [], [0]],
        "crowd": [[False, False], [False], [], [True]],
        "keypoints": [
            [16, 10, 2, 12, 30, 2, 20, 30, 1, 70, 10, 2, 0, 0, 0, 120, 30, 2],
            [32, 8, 2, 16, 40, 2, 0, 0, 0],
            [],
            [40, 40, 2, 44, 50, 2, 50, 60, 2],
        ],
        "height": [64] * 4,
        "width": [128] * 4,
        **columns,
    }
    fields = [BOXES, BOX_CLASSES, CROWD, KEYPOINTS, ("height", pa.int32()), ("width", pa.int32())]
    return pa.table(held, schema=pa.schema(fields))


def _targets():
    return _TASK.open_targets(_table(), _SIZE, 2)(np.arange(4))


def _augmented(magnitudes, weights=1.0, cut=(0, 0, 0, 0), mosaics=False):
    values = np.tile([magnitudes.get(name, 0.0) for name in PIXEL_TRANSFORMS], (4, 1))
    shares = tf.fill([4], float(weights))
    mix = Mix(tf.constant([1, 2, 3, 0]), shares, tf.constant([cut] * 4), tf.fill([4], mosaics))
    drawn = Drawn(
        tf.constant(values, tf.float32), tf.ones(values.shape), tf.zeros([4, 4], tf.int32)
    )
    return Augmented(tf.zeros([4, *_SIZE, 3]), drawn, mix, shares)


def _moved(*args, **kwargs):
    ((_, moved),) = _TASK.augment_targets(_targets(), _augmented(*args, **kwargs))
    return {name: np.asarray(value) for name, value in moved.items()}


def _right(targets):
    """Returns what a model finds that makes no mistake."""
    sure = np.full((*targets["keypoints"].shape[:-1], 1), 0.9, np.float32)
    return {
        "boxes": targets["boxes"],
        "scores": np.tile(np.array([0.9, 0.8], np.float32), (len(sure), 1)),
        "classes": targets["box_classes"],
        "keypoints": np.concatenate([targets["keypoints"][..., :2], sure], -1),
    }


def test_targets_are_in_pixels_of_the_input():
    targets = _targets()
    expected = [[[8, 5, 2], [6, 15, 2], [10, 15, 1]], [[35, 5, 2], [0, 0, 0], [60, 15, 2]]]
    assert targets["keypoints"][0].tolist() == expected
    assert not targets["keypoints"][2].any()


@pytest.mark.parametrize("number", [2, 4])
def test_lists_of_another_length_are_refused_with_the_row(number):
    task = get_task("keypoints", [*"abcd"][:number], [])
    with pytest.raises(ValueError, match=rf"{3 * number} numbers .* 18 of 2 objects in row 0"):
        task.open_targets(_table(), _SIZE, 2)


def test_a_mirrored_image_has_its_keypoints_where_they_are_drawn():
    # Left and right ears have colours of their own: in a mirror each takes the name of the other.
    image, targets = Image.new("RGB", _SIZE[::-1]), _targets()
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    points = targets["keypoints"][0, 0]
    for colour, (x, y, _) in zip(colours, points, strict=True):
        ImageDraw.Draw(image).rectangle([x - 1.5, y - 1.5, x + 0.5, y + 0.5], fill=colour)
    pixels = tf.constant(np.asarray(image, np.float32)[None])
    matrix = moves(_augmented({"horizontal_flip": 1.0}))[:1]
    mirrored = warp(pixels, matrix).numpy()[0]
    moved = _moved({"horizontal_flip": 1.0})["keypoints"][0, 0]
    for name, channel in ((0, 0), (1, 2), (2, 1)):
        y, x = np.argwhere(mirrored[..., channel] > 127).mean(axis=0) + 0.5
        np.testing.assert_allclose(moved[name, :2], [x, y], atol=1.0)


def test_visibility_is_mirrored_with_the_keypoint():
    moved = _moved({"horizontal_flip": 1.0})["keypoints"]
    # The second object of the first image has no left ear: the mirrored one has no right one.
    assert moved[0, 1, :, 2].tolist() == [1, 1, 0]
    np.testing.assert_allclose(moved[0, 1, 1, :2], [4, 15], atol=1e-4)
    # Boxes follow.
    np.testing.assert_allclose(
        _moved({"horizontal_flip": 1.0})["boxes"][0, 1], [0, 0, 32, 16], atol=1e-4
    )


def test_keypoints_that_leave_the_image_are_not_labelled():
    moved = _moved({"translate_x": 1.0})
    inside = moved["keypoints"][..., 0] < _SIZE[1]
    assert (moved["keypoints"][..., 2] <= inside).all()
    assert moved["keypoints"][0, 1, :, 2].sum() < 2


def test_cutmix_takes_what_the_cut_shows():
    moved = _moved({}, cut=(0, 0, 14, 32))
    # The whole first object is covered; of the partner the nose is not in the cut.
    assert moved["keypoints"][0, :2, :, 2].tolist() == [[0, 0, 0], [1, 0, 1]]
    assert moved["keypoints"][0, 4, :, 2].tolist() == [0, 1, 0]


def test_mixup_has_the_keypoints_of_both():
    moved = _moved({}, weights=0.7)
    assert moved["keypoints"][0, :, :, 2].sum(axis=1).tolist() == [3, 2, 0, 0, 2, 0, 0, 0]
    np.testing.assert_allclose(moved["share"][0, [0, 1, 4, 5]], [0.7, 0.7, 0.3, 0.3], rtol=1e-6)


def test_a_mosaic_has_the_keypoints_of_four_images_at_half_their_size():
    moved, still = _moved({}, mosaics=True)["keypoints"], _targets()["keypoints"]
    known = (still[..., 2] > 0) & (_targets()["box_classes"] >= 0)[..., None]
    # Its own, those of the partner's partner, of the partner, and of the last one.
    for slot, image, corner in ((0, 0, (0, 0)), (1, 2, (32, 0)), (2, 1, (0, 16)), (3, 3, (32, 16))):
        held = moved[0, 2 * slot : 2 * slot + 2]
        np.testing.assert_array_equal(held[..., 2] > 0, still[image, ..., 2] > 0)
        where = known[image]
        np.testing.assert_allclose(held[where][:, :2], still[image][where][:, :2] / 2 + corner)


def test_what_is_right_scores_one():
    targets = _targets()
    records = _TASK.record(targets, _right(targets))
    expected = dict.fromkeys(("pck", "oks_map", "oks_map50", "oks_map75", "oks_map_medium"), 1.0)
    assert whole_set_metrics(_TASK, records) == pytest.approx(expected)
    # A crowd is not judged, and a keypoint without a label is not either.
    assert records["labelled"].sum(axis=(1, 2)).tolist() == [5, 2, 0, 0]


def test_pck_is_of_the_diagonal_of_the_stored_image():
    targets = _targets()
    found = _right(targets)
    # 5 % of the diagonal of 64 x 128 pixels are 7.16, which are 3.58 of the input.
    for step, expected in ((3.5, 1.0), (3.65, 0.0)):
        moved = found["keypoints"] + np.array([step, 0, 0], np.float32)
        records = _TASK.record(targets, {**found, "keypoints": moved})
        assert whole_set_metrics(_TASK, records)["pck"] == expected


def test_records_of_splits_with_other_numbers_of_objects_are_joined():
    targets = _targets()
    one = {name: value[:, :1] for name, value in targets.items() if value.ndim > 2}
    one |= {name: targets[name][:, :1] for name in ("box_classes", "crowd")}
    parts = [_TASK.record(held, _right(targets)) for held in (targets, {**targets, **one})]
    assert whole_set_metrics(_TASK, join_records(parts))["pck"] == 1.0


def test_the_zero_rule_is_the_mean_pose_of_each_class():
    poses = usual_poses(_table(), _SIZE, 3, 3)["keypoints"]
    # Of the first class one object, of the second two; the crowd counts nowhere.
    np.testing.assert_allclose(poses[0, [0, 2]], [[35, 5, 1], [60, 15, 1]])
    np.testing.assert_allclose(poses[1], [[12, 4.5, 1], [7, 17.5, 1], [10, 15, 0.5]])
    assert not poses[2].any()


def test_the_nearest_image_lends_its_pose(tmp_path):
    source = write_scenes(tmp_path / "scenes", {"train": 12, "val": 4})
    shutil.copytree(source / "train", source / "test")
    info = import_dataset(str(source), tmp_path / "dataset", ImportConfig())
    task = task_of(info)
    assert build_model("separable", task, (32, 32, 3), 1).output["points"].shape[-1] == 4
    records = predict_keypoint_baselines(task, tmp_path / "dataset", info)
    # Every test image is a training image.
    assert whole_set_metrics(task, records["nearest_image"])["pck"] == 1.0
    assert whole_set_metrics(task, records["zero_rule"])["pck"] < 0.5


def test_evidence_names_every_keypoint():
    targets = _targets()
    found = _right(targets)
    # The nose of the first object is far off.
    found["keypoints"][0, 0, 0, :2] += 20
    pixels = np.zeros((4, *_SIZE, 3), np.uint8)
    source = types.SimpleNamespace(paths=list("abcd"), take=lambda rows: pixels[rows])
    images = LabelledImages(source, _TASK.open_targets(_table(), _SIZE, 2))  # type: ignore[arg-type]
    evidence = KeypointEvidence(["cell", "dot"], _NAMES, images, 4, 0.3)
    evidence.add(targets, found, _TASK.record(targets, found))
    fields, table = evidence.fields(), evidence.table()
    assert [(row["keypoint"], row["count"]) for row in fields["per_keypoint"]] == [
        ("nose", 3),
        ("left ear", 2),
        ("right ear", 2),
    ]
    assert [row["pck"] for row in fields["per_keypoint"]] == pytest.approx([2 / 3, 1, 1], abs=1e-4)
    assert "ap_small" not in fields["per_class"][0]
    shown = [(each["kind"], each["path"], each["measure"]) for each in fields["pictures"]]
    assert shown == [
        ("worst", "a", "pck"),
        ("worst", "b", "pck"),
        ("best", "b", "pck"),
        ("best", "a", "pck"),
    ]
    first = table.to_pylist()[0]
    # In pixels of the image as it is stored.
    np.testing.assert_allclose(first["keypoints"][3:6], [12, 30, 0.9], rtol=1e-5)
    assert len(first["keypoints"]) == 2 * 3 * 3


def test_losses_without_learning_are_in_order():
    targets = _targets()
    assert 0 < _TASK.frequency_loss(targets, None) <= _TASK.initial_loss(targets, 2)


def test_a_keypoint_comes_back_to_a_fraction_of_a_pixel():
    # Outputs as the loss asks for them: cells of 4 pixels say places between them.
    targets = _targets()
    random = np.random.default_rng(0)
    targets["keypoints"][..., :2] += random.uniform(-0.5, 0.5, (4, 2, 3, 2))
    height, width = _SIZE[0] // CELL, _SIZE[1] // CELL
    heat, _ = point_targets(targets, height, width)
    points = np.log(np.clip(heat, 1e-4, 1 - 1e-4) / (1 - np.clip(heat, 1e-4, 1 - 1e-4)))
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[..., None, :]
    at = targets["keypoints"][1, 0, :, :2] / CELL - 0.5
    centre = np.full((height, width, 2), -9.0)
    centre[4, 4, 1] = 3.0
    # The place that the centre points to is two pixels off.
    offsets = np.stack([at - places + 0.5, at - places], 2)
    maps = {
        "heat": centre,
        "reach": np.full((height, width, 4), np.log(4.0)),
        "points": points[1],
        "offsets": offsets.reshape(height, width, -1),
    }
    found = _TASK.decode({name: value[None].astype(np.float32) for name, value in maps.items()})
    labelled = targets["keypoints"][1, 0, :, 2] > 0
    np.testing.assert_allclose(
        found["keypoints"][0, 0, labelled, :2],
        targets["keypoints"][1, 0, labelled, :2],
        atol=1e-3,
    )


@pytest.mark.long
def test_exported_files_return_the_keypoints(tmp_path):
    images, expected, source = check_float_files(_TASK, 1, tmp_path)
    assert expected["keypoints"].shape == (3, 9 * 11, 3, 3)
    path = write_int8_file(source, tmp_path)
    found = FORMATS["tflite_int8"].open(path)(images)
    # Maps of int8 keep what tells cells apart: there are about as many peaks.
    kept, wanted = ((each["scores"] > 0).sum(axis=1) for each in (found, expected))
    np.testing.assert_allclose(kept, wanted, atol=5)
