"""Which image an annotation is called after: by folders in common, in linear time."""

import random
import sys

from kfp_vision.components.data_import.readers.annotation_files import ImagesBeside, nearness
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.shared.runtime.storage import Folder


def _index(images: list[str]) -> FileIndex:
    index = FileIndex(Folder("nowhere", "nowhere", "file"))
    index.images = images
    return index


def test_the_nearest_image_is_found_and_none_of_several():
    drawn = random.Random(0)

    def path(suffix: str) -> str:
        folders = [drawn.choice("abc") for _ in range(drawn.randrange(5))]
        return "/".join([*folders, drawn.choice("xy") + suffix])

    for _ in range(300):
        images = sorted({path(".jpg") for _ in range(drawn.randrange(1, 12))})
        beside = ImagesBeside(_index(images))
        for _ in range(5):
            annotation = path(".xml")
            same = {
                image: nearness(annotation, image)
                for image in images
                if image[-5] == annotation[-5]
            }
            nearest = [each for each in same if same[each] == max(same.values())]
            assert beside.find(annotation) == (nearest[0] if len(nearest) == 1 else None)


def _calls(folders: int) -> int:
    """Returns how many functions are called to find the images of as many annotations."""
    beside, calls = ImagesBeside(_index([f"images/{n}/1.jpg" for n in range(folders)])), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        found = [beside.find(f"labels/{number}/1.xml") for number in range(folders)]
    finally:
        sys.setprofile(None)
    assert found == [f"images/{number}/1.jpg" for number in range(folders)]
    return calls


def test_one_name_in_many_folders_costs_no_more_each():
    assert _calls(400) < 2.2 * _calls(200)
