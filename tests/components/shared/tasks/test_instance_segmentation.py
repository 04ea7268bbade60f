"""Instance segmentation from columns of objects to metrics and exported files."""

import contextlib
import io
import types
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from exported_objects import check_float_files, write_int8_file
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.draw import Drawn, Mix
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points
from kfp_vision.components.shared.tasks.instance_segmentation import InstanceSegmentation
from kfp_vision.components.shared.tasks.objects import BOX_CLASSES, BOXES, CROWD, SEGMENTS
from kfp_vision.components.shared.tasks.records import whole_set_metrics
from kfp_vision.components.shared.tasks.segment_evidence import SegmentEvidence
from kfp_vision.components.shared.tasks.segments import UNKNOWN, paste_masks

_SIZE, _STORED = (32, 64), (64, 128)
_TASK = InstanceSegmentation()


def _disc(x, y, radius):
    rows, columns = np.mgrid[: _STORED[0], : _STORED[1]] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


# Of each image: (class, whether it is a crowd, mask).
_IMAGES = [
    [(1, False, _disc(30, 30, 12)), (0, False, _disc(90, 30, 20))],
    [(1, False, _disc(40, 32, 30))],
    [],
    [(0, True, _disc(90, 30, 20))],
]


def _code(mask):
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def _table(images):
    names = "boxes", "box_classes", "crowd", "segments", "height", "width"
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for objects in images:
        codes = [_code(mask) for _, _, mask in objects]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in map(coco_mask.toBbox, codes)]
        columns["boxes"].append(np.ravel(boxes).tolist())
        columns["box_classes"].append([label for label, _, _ in objects])
        columns["crowd"].append([crowd for _, crowd, _ in objects])
        columns["segments"].append([code["counts"] for code in codes])
        columns["height"].append(_STORED[0])
        columns["width"].append(_STORED[1])
    fields = [BOXES, BOX_CLASSES, CROWD, SEGMENTS, ("height", pa.int32()), ("width", pa.int32())]
    return pa.table(columns, schema=pa.schema(fields))


def _targets(images=_IMAGES):
    return _TASK.open_targets(_table(images), _SIZE, 2)(np.arange(len(images)))


def _moved(magnitudes, weights=1.0, cut=(0, 0, 0, 0), mosaics=False):
    drawn = np.tile([magnitudes.get(name, 0.0) for name in PIXEL_TRANSFORMS], (4, 1))
    shares = tf.fill([4], float(weights))
    augmented = Augmented(
        tf.zeros([4, *_SIZE, 3]),
        Drawn(tf.constant(drawn, tf.float32), tf.ones(drawn.shape), tf.zeros([4, 4], tf.int32)),
        Mix(tf.constant([1, 2, 3, 0]), shares, tf.constant([cut] * 4), tf.fill([4], mosaics)),
        shares,
    )
    ((_, moved),) = _TASK.augment_targets(_targets(), augmented)
    return {name: np.asarray(value) for name, value in moved.items()}


def test_maps_move_with_their_images():
    still, moved = _targets()["instances"], _moved({"horizontal_flip": 1.0})
    np.testing.assert_array_equal(moved["instances"], still[:, :, ::-1])
    assert not moved["partner_instances"].any()
    # What comes from beyond the border is not known.
    shifted = _moved({"translate_x": 1.0})["instances"]
    assert (shifted == UNKNOWN).all(axis=1).any(axis=1).all()


def test_cutmix_pastes_the_objects_of_the_partner():
    still, moved = _targets()["instances"], _moved({}, cut=(0, 0, 32, 32))
    assert not moved["instances"][:, :, :32].any()
    np.testing.assert_array_equal(moved["instances"][:, :, 32:], still[:, :, 32:])
    np.testing.assert_array_equal(
        moved["partner_instances"][:, :, :32], still[[1, 2, 3, 0], :, :32]
    )
    assert not moved["partner_instances"][:, :, 32:].any()


def test_mixup_has_the_maps_of_both():
    still, moved = _targets()["instances"], _moved({}, weights=0.7)
    np.testing.assert_array_equal(moved["instances"], still)
    np.testing.assert_array_equal(moved["partner_instances"], still[[1, 2, 3, 0]])


def test_a_mosaic_has_the_maps_of_four_images_and_the_places_of_their_objects():
    still, moved = _targets(), _moved({}, mosaics=True)
    whole, boxes = still["instances"], moved["boxes"]
    height, width = (size // 2 for size in _SIZE)
    number = still["boxes"].shape[1]
    for image in range(4):
        second, partner, last = ((image + step) % 4 for step in (2, 1, 3))
        upper, lower = moved["instances"][image], moved["partner_instances"][image]
        np.testing.assert_array_equal(upper[:height, :width], whole[image, ::2, ::2])
        np.testing.assert_array_equal(upper[:height, width:] > number, whole[second, ::2, ::2] > 0)
        np.testing.assert_array_equal(lower[height:, :width], whole[partner, ::2, ::2])
        np.testing.assert_array_equal(lower[height:, width:] > number, whole[last, ::2, ::2] > 0)
        assert not (upper[height:] > 0).any()
        assert not (lower[:height] > 0).any()
        # Each place of a map is that of the box in its half of the objects.
        halves = zip((upper, lower), np.split(boxes[image], 2), strict=True)
        for held, theirs in halves:
            for place in np.unique(held[held > 0]):
                rows, columns = np.nonzero(held == place)
                left, top, right, bottom = theirs[place - 1]
                assert columns.min() >= left - 1
                assert columns.max() < right + 1
                assert rows.min() >= top - 1
                assert rows.max() < bottom + 1


def _true_masks(targets):
    """Returns the masks [B, M, S, S] that the objects have in the windows of their boxes."""
    masks = np.zeros((*targets["box_classes"].shape, MASK_SIDE, MASK_SIDE), np.float32)
    for image, place in np.argwhere(targets["box_classes"] >= 0):
        box = targets["boxes"][image, place] * 2
        x, y = (np.floor(each).astype(int) for each in window_points(box, MASK_SIDE))
        inside = ((x >= 0) & (x < 128)) & ((y >= 0) & (y < 64))[:, None]
        mask = _IMAGES[image][place][2]
        masks[image, place] = inside & mask[y.clip(0, 63)[:, None], x.clip(0, 127)]
    return masks


def _right(targets):
    return {
        "boxes": targets["boxes"],
        "scores": np.tile(np.array([0.9, 0.8], np.float32), (4, 1)),
        "classes": targets["box_classes"],
        "masks": _true_masks(targets),
    }


def test_what_is_right_scores_one():
    targets = _targets()
    metrics = whole_set_metrics(_TASK, _TASK.record(targets, _right(targets)))
    # Of 452, 1,257 and 2,827 pixels as stored.
    expected = dict.fromkeys(
        [f"mask_{n}" for n in ("map", "map50", "map75", "map_small", "map_medium")], 1.0
    )
    assert metrics == pytest.approx(expected, abs=0.11)
    assert metrics["mask_map75"] == 1.0
    found = _right(targets)
    # The boxes are right as before: only masks count.
    found["masks"] = found["masks"] * (np.arange(MASK_SIDE) < MASK_SIDE // 2)
    assert whole_set_metrics(_TASK, _TASK.record(targets, found))["mask_map75"] == 0.0


def _random_images(seed, count=10):
    random = np.random.default_rng(seed)
    return [
        [
            (
                int(random.integers(2)),
                bool(random.random() < 0.15),
                _disc(random.integers(5, 120), random.integers(5, 60), random.integers(4, 40)),
            )
            for _ in range(random.integers(0, 7))
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_metrics_are_those_of_pycocotools(seed):
    images, random = _random_images(seed), np.random.default_rng(seed)
    targets = _targets(images)
    most = targets["boxes"].shape[1]
    chosen = random.integers(0, most, (len(images), 12))
    boxes = np.take_along_axis(targets["boxes"], chosen[..., None], 1)
    boxes = (boxes + random.normal(0, 2, boxes.shape)).astype(np.float32)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 1)
    x, y = window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)
    narrowed = random.uniform(0.4, 1, (len(images), 12, 1, 1))
    found = {
        "boxes": boxes,
        "scores": random.integers(1, 20, (len(images), 12)) / 20,
        "classes": random.integers(0, 2, (len(images), 12)),
        "masks": np.exp(-(x**2 + y[:, None] ** 2) * narrowed),
    }
    results, annotations = [], []
    for number, objects in enumerate(images):
        codes = paste_masks(
            boxes[number], found["masks"][number], np.array(_SIZE), np.array(_STORED)
        )
        results += [
            {
                "image_id": number + 1,
                "category_id": int(found["classes"][number, place]) + 1,
                "segmentation": code,
                "score": found["scores"][number, place],
            }
            for place, code in enumerate(codes)
        ]
        annotations += [
            {
                "id": 100 * number + place + 1,
                "image_id": number + 1,
                "category_id": label + 1,
                "segmentation": _code(mask),
                "area": int(mask.sum()),
                "iscrowd": int(crowd),
            }
            for place, (label, crowd, mask) in enumerate(objects)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [
                {"id": number + 1, "height": _STORED[0], "width": _STORED[1]}
                for number in range(len(images))
            ],
            "annotations": annotations,
            "categories": [{"id": 1}, {"id": 2}],
        }
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    metrics = whole_set_metrics(_TASK, _TASK.record(targets, found))
    names = "map", "map50", "map75", "map_small", "map_medium", "map_large"
    expected = dict(zip(names, reference.stats, strict=False))
    assert metrics == pytest.approx(
        {f"mask_{name}": value for name, value in expected.items() if value >= 0}, abs=1e-9
    )
    assert metrics["mask_map50"] > 0.01


def test_the_zero_rule_is_the_ellipse_in_the_median_box():
    found = _TASK.zero_rule(_table(_IMAGES), _SIZE, 3)
    assert found["masks"].shape == (3, MASK_SIDE, MASK_SIDE)
    share = found["masks"][0].mean() * 1.5**2
    assert share == pytest.approx(np.pi / 4, abs=0.02)


def test_evidence_keeps_the_masks_that_were_found():
    targets = _targets()
    found = {**_right(targets), "scores": np.tile(np.array([0.9, 0.01], np.float32), (4, 1))}
    pixels = np.zeros((4, *_SIZE, 3), np.uint8)
    source = types.SimpleNamespace(paths=list("abcd"), take=lambda rows: pixels[rows])
    images = LabelledImages(source, lambda _: targets)  # type: ignore[arg-type]
    evidence = SegmentEvidence(["cell", "dot"], images, 4, 0.3)
    evidence.add(targets, found, _TASK.record(targets, found))
    fields, table = evidence.fields(), evidence.table().to_pylist()
    assert [row["count"] for row in fields["per_class"]] == [1, 2]
    shown = [(each["kind"], each["path"]) for each in fields["pictures"]]
    assert shown == [("worst", "a"), ("worst", "b"), ("best", "b"), ("best", "a")]
    (counts,) = table[0]["segments"]
    pixels = coco_mask.decode({"size": list(_STORED), "counts": counts}).astype(bool)
    disc = _IMAGES[0][0][2]
    assert (pixels & disc).sum() / (pixels | disc).sum() > 0.9


def test_losses_without_learning_are_in_order():
    targets = _targets()
    assert 0 < _TASK.frequency_loss(targets, None) <= _TASK.initial_loss(targets, 2)
    model = build_model("separable", _TASK, (*_SIZE, 3), 2)
    outputs = model(np.zeros((4, *_SIZE, 3), np.float32))
    loss = float(np.mean(_TASK.loss(targets, outputs)))
    assert _TASK.initial_loss(targets, 2) == pytest.approx(loss, rel=0.1)


@pytest.mark.long
def test_exported_files_return_the_masks(tmp_path):
    _, expected, source = check_float_files(_TASK, 2, tmp_path)
    assert expected["masks"].shape == (3, 100, MASK_SIDE, MASK_SIDE)
    assert 0.01 < (expected["masks"] >= 0.5).mean() < 0.9
    write_int8_file(source, tmp_path)
