"""Near duplicates on real images: recall on changed copies, and how many others are grouped.

Reads ../shared/data/*.tar and the Debian package dataset-fashion-mnist; what is absent is left out.
With a folder as argument, writes contact sheets of grouped pairs to look at.
"""

import gzip
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from kfp_vision.components.shared.datasets.near_duplicates import (
    SIGNATURE_BYTES,
    image_signature,
    near_duplicate_groups,
)

DATA = Path(__file__).parents[3] / "shared/data"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
CHANGED = 500


def encode(image: Image.Image, quality: int, scale: float = 1.0) -> Image.Image:
    size = (round(image.width * scale), round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return Image.open(file)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg_75": lambda image: encode(image, 75),
    "jpeg_50": lambda image: encode(image, 50),
    "half_size": lambda image: encode(image, 90, 0.5),
    "larger": lambda image: encode(image, 90, 1.5),
    "brighter_10_percent": lambda image: image.point(lambda value: min(255, value * 1.1)),
}


def datasets() -> Iterator[tuple[str, list[Image.Image]]]:
    """Yields name and images of the sets that are there."""
    for name in ("cifar10-10k", "camvid-tiles-multilabel"):
        path = DATA / f"{name}.tar"
        if path.exists():
            with tarfile.open(path) as archive:
                members = sorted(archive.getmembers(), key=lambda member: member.name)
                images = [each for each in members if each.name.endswith((".png", ".jpg"))]
                files = [archive.extractfile(each) for each in images]
                yield name, [Image.open(file).convert("RGB") for file in files if file]
    if FASHION_MNIST.exists():
        with gzip.open(FASHION_MNIST) as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        yield "fashion-mnist", [Image.fromarray(image) for image in pixels]


def signatures(images: list[Image.Image]) -> np.ndarray:
    arrays = (np.asarray(image).reshape(image.height, image.width, -1) for image in images)
    joined = b"".join(image_signature(array) for array in arrays)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE_BYTES)


def sheet(images: list[Image.Image], pairs: np.ndarray, path: Path) -> None:
    """Writes pairs side by side, 64 px each, ten pairs a row."""
    page = Image.new("RGB", (10 * 136, -(-len(pairs) // 10) * 68))
    for index, pair in enumerate(pairs):
        for side, row in enumerate(pair):
            place = (index % 10 * 136 + 64 * side, index // 10 * 68)
            page.paste(images[row].convert("RGB").resize((64, 64)), place)
    page.save(path)


def main(pairs: Path | None) -> None:
    """Prints one line a set and the result."""
    result = {}
    for name, images in datasets():
        plain = signatures(images)
        started = time.monotonic()
        groups = near_duplicate_groups(plain)
        seconds = time.monotonic() - started
        copies = np.flatnonzero(groups != np.arange(len(images)))
        chosen = np.random.default_rng(0).choice(len(images), CHANGED, replace=False)
        recall = {}
        for change, function in CHANGES.items():
            changed = signatures([function(images[row]) for row in chosen])
            found = near_duplicate_groups(np.concatenate([plain, changed]))
            recall[change] = float((found[len(images) :] == found[chosen]).mean())
        result[name] = {
            "images": len(images),
            "near_duplicates": len(copies),
            "groups_s": round(seconds, 2),
            "recall": recall,
        }
        print(name, result[name])
        if pairs and len(copies):
            pairs.mkdir(parents=True, exist_ok=True)
            shown = np.stack([groups[copies], copies], axis=1)[:200]
            sheet(images, shown, pairs / f"{name}.png")
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
