"""Names beside boxes, and legends below pictures."""

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.captions import draw_names, with_legend
from kfp_vision.components.shared.datasets.palette import class_colour


def _drawn(size, boxes, labels=(1, 2, 3), names=("dot 0.90", "cell 0.80", "egg 0.70")):
    """Returns where names cover the black image, [H, W], and the picture."""
    image, count = Image.new("RGB", size), len(boxes)
    draw_names(image, np.array(boxes, float), np.array(labels[:count]), names[:count])
    pixels = np.asarray(image)
    return pixels.any(axis=-1), pixels


@pytest.mark.parametrize(
    ("box", "rows"),
    [([80, 60, 120, 120], (0, 60)), ([80, 0, 120, 60], (60, 150)), ([80, 0, 120, 150], (0, 40))],
)
def test_a_name_is_above_its_box_or_below_or_in_it(box, rows):
    covered, pixels = _drawn((200, 150), [box])
    down, across = np.nonzero(covered)
    assert rows[0] <= down.min() < down.max() <= rows[1]
    assert across.min() == 80
    assert (pixels[down.min() + 1, 81] == class_colour(1)).all()


def test_a_name_stays_in_the_picture():
    covered, _ = _drawn((200, 150), [[190, 60, 199, 120]])
    assert covered[:60].any(axis=0).argmax() < 160
    assert not covered[60:].any()


def test_names_cover_neither_names_nor_middles_of_other_boxes():
    # Three boxes one upon the other: there are two places beside them, and one in them.
    covered, pixels = _drawn((200, 150), [[50, 60, 90, 100]] * 3)
    first, second = ((pixels == class_colour(label)).all(axis=-1) for label in (1, 2))
    assert np.nonzero(first)[0].max() <= 60
    assert np.nonzero(second)[0].min() >= 100
    middle = [55, 45, 65, 55]
    covered, _ = _drawn((200, 150), [[50, 60, 90, 100], middle])
    assert not covered[50, 60]
    assert covered[100:].any()


def test_a_name_that_is_wider_than_the_picture_is_left_out():
    covered, _ = _drawn((200, 150), [[80, 60, 120, 120]], names=["long " * 30])
    assert not covered.any()


def test_small_pictures_have_no_text():
    covered, _ = _drawn((60, 300), [[10, 100, 30, 120]])
    assert not covered.any()
    small = Image.new("RGB", (60, 300))
    assert with_legend(small, [(0, "sky")]) is small


def test_a_legend_is_below_and_breaks_into_rows():
    image = Image.new("RGB", (120, 90), "navy")
    one = with_legend(image, [(0, "sky")])
    assert one.crop((0, 0, 120, 90)).tobytes() == image.tobytes()
    height = one.height - 90
    names = [(label, f"class {label}") for label in range(6)]
    pixels = np.asarray(with_legend(image, names))
    rows = len(pixels) - 90
    assert rows > height
    assert rows % height == 0
    for label, _ in names:
        assert (pixels[90:] == class_colour(label)).all(axis=-1).sum() > 20
