"""Figures of masks whose areas are known."""

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.recipe.document import Recipe


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """Of images of 16 x 16: half is sky, a quarter road, a quarter unknown; of one all is sky."""
    folder = tmp_path_factory.mktemp("masks")
    random = np.random.default_rng(0)
    mask = np.full((16, 16), 255, np.uint8)
    mask[:8], mask[8:12] = 0, 1
    for split, count in (("train", 20), ("val", 4), ("test", 4)):
        for name in ("images", "masks"):
            (folder / "set" / split / name).mkdir(parents=True)
        for n in range(count):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"set/{split}/images/{n}.png")
            shown = np.zeros_like(mask) if (split, n) == ("train", 0) else mask
            Image.fromarray(shown).save(folder / f"set/{split}/masks/{n}.png")
    (folder / "set/classes.txt").write_text("sky\nroad\n")
    import_dataset(str(folder / "set"), folder / "dataset", ImportConfig())
    return profile_images(folder / "dataset", Recipe({}), folder / "profile", ProfileConfig())


def test_shares_of_the_pixels(profile):
    # 19 images of 128 and 64 pixels, and one of 256.
    known = np.array([19 * 128 + 256, 19 * 64])
    sky, road = known / known.sum()
    assert profile.figures["pixel_shares"] == f"sky {sky:.1%}, road {road:.1%}"
    assert profile.figures["pixel_imbalance_ratio"] == round(sky / road, 2)
    assert profile.figures["pixels_unknown"] == f"{19 * 64 / (20 * 256):.1%}"
    assert profile.figures["images_of_one_class"] == 1


def test_areas_of_the_classes(profile):
    areas = profile.histograms["class_area"]
    assert sum(areas.counts) == 39
    assert areas.counts[-1] == 1
