"""Losses, metrics and what is exported of masks, against references and closed forms."""

import tracemalloc
import types

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.tasks.mask_evidence import MaskEvidence
from kfp_vision.components.shared.tasks.masks import (
    IGNORED,
    count_pixels,
    encode_mask,
    likeliest_classes,
)
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics

_TASK = get_task("semantic_segmentation")


def _masks(num_classes=4, count=5):
    generator = np.random.default_rng(0)
    masks = generator.integers(0, num_classes, (count, 9, 7)).astype(np.uint8)
    predicted = np.where(
        generator.random(masks.shape) < 0.6, masks, generator.integers(0, num_classes, masks.shape)
    )
    masks[generator.random(masks.shape) < 0.1] = IGNORED
    return masks, predicted


def _records(masks, predicted, num_classes=4):
    return _TASK.record({"mask": masks}, np.eye(num_classes)[predicted])


def test_metrics_are_those_of_scikit_learn_and_unknown_pixels_do_not_count():
    masks, predicted = _masks()
    known = masks != IGNORED
    true, said = masks[known], predicted[known]
    found = whole_set_metrics(_TASK, _records(masks, predicted))
    assert found["mean_iou"] == pytest.approx(jaccard_score(true, said, average="macro"))
    assert found["mean_dice"] == pytest.approx(f1_score(true, said, average="macro"))
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(true, said))


def test_a_resample_is_as_good_as_its_images_written_out():
    masks, predicted = _masks()
    times = np.array([2, 0, 1, 0, 3])
    rows = np.repeat(np.arange(5), times)
    counted = _TASK.metrics(_records(masks, predicted), times[:, None].astype(np.float32))
    for name, value in whole_set_metrics(_TASK, _records(masks[rows], predicted[rows])).items():
        assert counted[name][0] == pytest.approx(value)


def test_batches_are_as_good_as_the_whole_set():
    masks, predicted = _masks()
    parts = [_records(masks[part], predicted[part]) for part in (slice(0, 2), slice(2, 5))]
    assert whole_set_metrics(_TASK, join_records(parts)) == whole_set_metrics(
        _TASK, _records(masks, predicted)
    )


def test_a_class_that_is_nowhere_does_not_count():
    masks = np.zeros((1, 2, 2), np.uint8)
    found = whole_set_metrics(_TASK, _records(masks, masks.astype(int)))
    assert found == {"mean_iou": 1.0, "mean_dice": 1.0, "pixel_accuracy": 1.0}


def test_a_class_that_few_images_show_makes_them_worth_less():
    masks = np.zeros((6, 2, 2), np.uint8)
    masks[:, 0, 0], masks[:2, 1, 1] = 1, 3
    records = _records(masks, masks)
    # 6, 6 and 2 images show a class; none shows the third.
    assert _TASK.images_worth("mean_iou", records) == pytest.approx(3 / (1 / 6 + 1 / 6 + 1 / 2))
    assert _TASK.images_worth("pixel_accuracy", records) == 6
    unknown = _records(np.full_like(masks, IGNORED), masks)
    assert _TASK.images_worth("mean_iou", unknown) == 6


def test_initial_and_frequency_loss_are_the_loss_of_constant_logits():
    masks, _ = _masks()
    targets = {"mask": masks}
    shape = (*masks.shape, 4)
    even = _TASK.loss(targets, np.zeros(shape, np.float32))
    assert _TASK.initial_loss(targets, 4) == pytest.approx(float(np.mean(even)), rel=1e-5)
    shares = np.bincount(masks[masks != IGNORED], minlength=4) / (masks != IGNORED).sum()
    known = _TASK.loss(targets, np.broadcast_to(np.log(shares).astype(np.float32), shape))
    assert _TASK.frequency_loss(targets, None) == pytest.approx(float(np.mean(known)), rel=1e-5)


def test_confidence_that_is_twice_too_high_is_halved():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (4, 64, 64, 3)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    masks = (p.cumsum(-1) < generator.random((4, 64, 64, 1))).sum(-1).astype(np.uint8)
    assert _TASK.calibrate([({"mask": masks}, 2 * logits)]) == pytest.approx(2.0, rel=0.15)


def test_masks_are_read_at_the_size_of_the_images():
    mask = np.repeat(np.repeat(np.array([[0, 3], [255, 1]], np.uint8), 6, 0), 4, 1)
    table = pa.table({"mask": pa.array([encode_mask(mask)] * 3, pa.binary())})
    read = _TASK.open_targets(table, (4, 2), 4)
    found = read(np.array([[0, 2]]))["mask"]
    assert found.shape == (1, 2, 4, 2)
    assert found[0, 1].tolist() == [[0, 3], [0, 3], [255, 1], [255, 1]]


def _stored(*masks):
    """Returns the targets by which a model of 1 x 2 pixels is judged."""
    table = pa.table({"mask": pa.array([encode_mask(mask) for mask in masks], pa.binary())})
    return _TASK.open_truth(table, (1, 2), 2)(np.arange(len(masks)))


def test_metrics_are_of_the_masks_as_stored_of_whatever_size():
    """The model says: the left half is of class 0, the right one of class 1."""
    first = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [255, 0, 0, 255]], np.uint8)
    second = np.array([[0, 1, 1, 255, 1, 1]], np.uint8)
    targets = _stored(first, second)
    assert [read().shape for read in targets["stored"]] == [(3, 4), (1, 6)]
    halves = np.array([[[[0.9, 0.1], [0.1, 0.9]]]] * 2, np.float32)
    # True class, then predicted: unknown pixels count nowhere.
    assert count_pixels(targets, halves).tolist() == [[[4, 1], [1, 4]], [[1, 0], [2, 2]]]
    found = whole_set_metrics(_TASK, _TASK.record(targets, halves))
    # 5 and 6 pixels are right, of 9 (6 + 8 - 5) and of 10 (9 + 7 - 6) true or predicted ones.
    assert found["mean_iou"] == pytest.approx((5 / 9 + 6 / 10) / 2)
    assert found["mean_dice"] == pytest.approx((10 / 14 + 12 / 16) / 2)
    assert found["pixel_accuracy"] == pytest.approx(11 / 15)


def test_a_model_that_knows_all_is_perfect_at_every_size():
    """Its input is smaller than the first mask, and larger than the others."""
    masks = [np.zeros(size, np.uint8) for size in ((30, 500), (9, 8), (1, 2))]
    for mask in masks:
        mask[:, mask.shape[1] // 2 :] = 1
    masks[0][7:9] = IGNORED
    halves = np.zeros((3, 6, 10, 2), np.float32)
    halves[:, :, :5, 0] = halves[:, :, 5:, 1] = 1.0
    found = whole_set_metrics(_TASK, _TASK.record(_stored(*masks), halves))
    assert found == {"mean_iou": 1.0, "mean_dice": 1.0, "pixel_accuracy": 1.0}


@pytest.mark.parametrize("size", [(7, 5), (23, 31), (40, 9), (300, 411)])
def test_in_squares_masks_are_what_they_are_in_one_piece(size):
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.full(6, 0.3), (23, 31)).astype(np.float32)
    # Where a class is far from likely it is left out.
    p[:10, :12] = [0.9, 0.1, 0, 0, 0, 0]
    planes = [Image.fromarray(np.ascontiguousarray(p[..., label])) for label in range(6)]
    whole = [np.asarray(each.resize(size[::-1], Image.Resampling.BILINEAR)) for each in planes]
    found = likeliest_classes(p, size)
    assert found.dtype == np.uint8
    assert (found == np.argmax(whole, axis=0)).mean() > 0.9999


def test_of_a_batch_one_mask_is_in_memory_and_no_class_at_its_size():
    num_classes, pixels = 12, 750 * 1000
    targets = _stored(*[np.zeros((750, 1000), np.uint8)] * 8)
    p = np.zeros((8, 6, 8, num_classes), np.float32)
    p[..., :2] = np.random.default_rng(0).random((8, 6, 8, 2))
    tracemalloc.start()
    counts = count_pixels(targets, p)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counts.sum((1, 2)) == pixels).all()
    # Truth and prediction are a byte a pixel each; the probabilities of a pixel would be 48.
    assert peak_bytes < 6 * pixels


def test_the_best_images_have_something_right():
    masks = np.zeros((3, 4, 6), np.uint8)
    # All wrong, half right, all wrong.
    predicted = np.ones((3, 4, 6), np.uint8)
    predicted[1, :, :3] = 0
    source = types.SimpleNamespace(
        paths=list("abc"), take=lambda rows: np.zeros((len(rows), 4, 6, 3), np.uint8)
    )
    evidence = MaskEvidence(["a", "b"], LabelledImages(source, lambda _: {}), 4)  # type: ignore[arg-type]
    evidence.add(0, {"mask": masks}, np.eye(2)[predicted])
    shown = [(each["kind"], each["path"]) for each in evidence.fields()["pictures"]]
    assert shown == [("worst", "a"), ("worst", "c"), ("best", "b")]


def test_probabilities_that_are_not_finite_are_of_the_first_class():
    """A file of a model may be broken; its masks are then wrong, and no error of another kind."""
    found = likeliest_classes(np.full((4, 4, 3), np.nan, np.float32), (10, 7))
    assert found.tolist() == [[0] * 7] * 10
