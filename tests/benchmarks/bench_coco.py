"""Times the listing of a COCO file, and what it keeps in memory for an object.

`python tests/benchmarks/bench_coco.py --objects 200000` writes images of no content: none is read.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.data_import.readers.coco import read_coco
from kfp_vision.components.shared.runtime.storage import open_folder

_CORNERS = 20
_A_IMAGE = 10


def _write(folder: Path, num_objects: int) -> None:
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = [
        {"id": number, "file_name": f"{number}.jpg", "height": 480, "width": 640}
        for number in range(num_objects // _A_IMAGE)
    ]
    for each in images:
        (folder / each["file_name"]).touch()
    corners = random.integers(0, 480, (num_objects, 2 * _CORNERS)).tolist()
    annotations = [
        {
            "id": number,
            "image_id": number // _A_IMAGE,
            "category_id": number % 80,
            "iscrowd": 0,
            "bbox": corner[:2] + [7.25, 9.5],
            "segmentation": [corner],
        }
        for number, corner in enumerate(corners)
    ]
    categories = [{"id": number, "name": f"class {number}"} for number in range(80)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))


def _mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Writes a file, lists it, and prints what that cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: what the writer has freed would be used again.
        _in_child(lambda: _write(Path(folder), arguments.objects))
        size = (Path(folder) / "train.json").stat().st_size
        before, started = _mebibytes(), time.monotonic()
        listing = read_coco(open_folder(folder)[0])
        seconds, held = time.monotonic() - started, _mebibytes() - before
    result = {
        "objects": arguments.objects,
        "task": listing.task,
        "json_mib": round(size / 2**20, 1),
        "seconds": round(seconds, 1),
        "held_mib": round(held, 1),
        "bytes_an_object": round(held * 2**20 / arguments.objects),
    }
    print("RESULT", json.dumps(result))


def _in_child(function) -> None:
    import multiprocessing

    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join()


if __name__ == "__main__":
    main()
