import numpy as np
import pyarrow as pa
import pytest

from kfp_vision.components.shared.datasets.store import SCHEMA, SplitWriter, encode_raw, open_split
from kfp_vision.components.shared.tasks.objects import (
    BOX_CLASSES,
    BOXES,
    CROWD,
    NO_CLASS,
    SEGMENTS,
    pad,
    read_objects,
)
from kfp_vision.components.shared.tasks.records import join_records

_COUNTS = (2, 0, 3, 1)


def _table(folder, rows, batch=None):
    """Returns a split of images of 8 x (10 + n) pixels with objects of random numbers."""
    schema = pa.schema([*SCHEMA, BOXES, BOX_CLASSES, CROWD, SEGMENTS])
    with SplitWriter(folder, "train", schema) as writer:
        for index, objects in enumerate(rows):
            height, width = 8, 10 + index
            pixels = np.zeros((height, width, 1), np.uint8)
            writer.write(
                {
                    "image": encode_raw(pixels),
                    "encoding": "raw",
                    "height": height,
                    "width": width,
                    "channels": 1,
                    "labels": [],
                    "path": str(index),
                    "sha256": bytes(32),
                    "signature": bytes(64),
                    **objects,
                }
            )
    table = open_split(folder, "train")
    return table if batch is None else pa.concat_tables([table.slice(0, batch), table.slice(batch)])


def _rows(counts=_COUNTS):
    random = np.random.default_rng(0)
    return [
        {
            "boxes": random.uniform(0, 8, 4 * count).tolist(),
            "box_classes": random.integers(0, 3, count).tolist(),
            "crowd": (random.random(count) < 0.5).tolist(),
            "segments": [bytes([index, place]) for place in range(count)],
        }
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize("batch", [None, 3])
def test_objects_of_a_row_are_those_that_were_written(tmp_path, batch):
    rows = _rows()
    objects = read_objects(_table(tmp_path, rows, batch))
    assert np.diff(objects.starts).tolist() == list(_COUNTS)
    for index, row in enumerate(rows):
        own = slice(objects.starts[index], objects.starts[index + 1])
        np.testing.assert_array_equal(objects.boxes[own].ravel(), np.float32(row["boxes"]))
        assert objects.classes[own].tolist() == row["box_classes"]
        assert objects.crowd[own].tolist() == row["crowd"]


def test_a_batch_is_scaled_and_padded(tmp_path):
    rows = _rows()
    objects = read_objects(_table(tmp_path, rows))
    order = np.array([[2, 1], [0, 2]])
    batch = objects.batch(order, (16, 32))
    assert {name: value.shape for name, value in batch.items()} == {
        "boxes": (2, 2, 3, 4),
        "box_classes": (2, 2, 3),
        "crowd": (2, 2, 3),
        "image_size": (2, 2, 2),
    }
    assert batch["box_classes"][1, 0].tolist() == [*rows[0]["box_classes"], NO_CLASS]
    assert (batch["box_classes"][0, 1] == NO_CLASS).all()
    assert batch["image_size"][0].tolist() == [[8, 12], [8, 11]]
    scales = np.array([32 / 12, 2.0] * 2)
    for place in ((0, 0), (1, 1)):
        expected = np.reshape(rows[2]["boxes"], (3, 4)) * scales
        np.testing.assert_allclose(batch["boxes"][place], expected, rtol=1e-6)


def test_the_usual_side_is_a_share_of_its_image_and_crowds_do_not_count(tmp_path):
    def row(*boxes, crowd=False):
        held = {"boxes": np.ravel(boxes).tolist(), "crowd": [crowd] * len(boxes)}
        return held | {"box_classes": [0] * len(boxes), "segments": [b""] * len(boxes)}

    # Images of 8 x 10, 8 x 11 and 8 x 12 pixels.
    rows = [row([0, 0, 2, 1]), row([0, 0, 8, 8], crowd=True), row([1, 1, 3, 4], [0, 0, 12, 8])]
    assert read_objects(_table(tmp_path, rows)).usual_side == pytest.approx((6 / 96) ** 0.5)
    assert read_objects(_table(tmp_path, rows[1:2])).usual_side == 1.0


def test_images_without_any_object_have_a_place_for_one(tmp_path):
    objects = read_objects(_table(tmp_path, _rows((0, 0))))
    assert objects.batch(np.arange(2), (8, 8))["box_classes"].tolist() == [[NO_CLASS], [NO_CLASS]]


def test_objects_beyond_the_most_are_left_out():
    values, starts = np.arange(5), np.array([0, 3, 5])
    assert pad(values, starts, np.array([0, 1]), 2, 9).tolist() == [[0, 1], [3, 4]]
    assert pad(values, starts, np.array([1]), 3, 9).tolist() == [[3, 4, 9]]


def test_lists_of_other_lengths_are_refused_with_the_row(tmp_path):
    rows = _rows()
    rows[2]["boxes"].pop()
    with pytest.raises(ValueError, match=r"Received: 11, 3 and 3 of row 2"):
        read_objects(_table(tmp_path, rows))


def test_batches_with_places_for_other_numbers_of_objects_are_joined():
    few = {"boxes": np.ones((2, 1, 4), np.float32), "box_classes": np.zeros((2, 1), np.int32)}
    many = {"boxes": np.ones((1, 3, 4), np.float32), "box_classes": np.zeros((1, 3), np.int32)}
    joined = join_records([few, many])
    assert joined["box_classes"].tolist() == [[0, -1, -1], [0, -1, -1], [0, 0, 0]]
    assert joined["boxes"].shape == (3, 3, 4)
    assert joined["boxes"].sum() == 4 * 5
