"""Does the search find what the training images lack? Objects turned by 90 degrees, to detect.

python tests/benchmarks/bench_turned_objects.py [--images 4000] [--epochs 20] [--seed 0]
    [--results DIR]

Pieces of clothing (Fashion-MNIST) lie on photographs of streets (camvid): upright in the training
images, turned by 90 degrees to either side in those of validation and test. Two runs, alike but for
the search; with `--results` they are continued.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_real_sets import unpack
from PIL import Image

from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist

_SIDE, _LEAST, _GREATEST, _MOST = 64, 18, 28, 3
# Below this a pixel of clothing is background.
_DARK = 24
# Label of Fashion-MNIST -> name: pieces that look otherwise when turned.
_CLASSES = {0: "T-shirt", 1: "trouser", 7: "sneaker", 8: "bag", 9: "boot"}
# Split -> images for one of training, clothes, and whether they are turned.
_SPLITS = {
    "train": (1.0, "train", False),
    "val": (0.125, "t10k", True),
    "test": (0.125, "t10k", True),
}
_TURNING = ("rot90", "rotate")


def _read_clothes(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels [N, 28, 28] and labels [N] of the classes that are used."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((folder / f"{part}-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    labels = labels[8:]
    used = np.isin(labels, list(_CLASSES))
    return pixels[16:].reshape(-1, 28, 28)[used], labels[used]


def _place(generator: np.random.Generator, sides: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yields side, left and top of squares that do not overlap; fewer where there is no room."""
    taken = np.zeros([_SIDE, _SIDE], bool)
    for side in sides:
        for _ in range(50):
            left, top = generator.integers(0, _SIDE - side + 1, 2)
            if not taken[top : top + side, left : left + side].any():
                taken[top : top + side, left : left + side] = True
                yield int(side), int(left), int(top)
                break


def _write_split(
    target: Path,
    split: str,
    number: int,
    clothes: tuple[np.ndarray, np.ndarray],
    streets: list[Path],
    is_turned: bool,
    generator: np.random.Generator,
) -> None:
    """Writes images of a split and its COCO file."""
    (target / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in range(number):
        street = Image.open(streets[generator.integers(len(streets))]).convert("RGB")
        left, top = (int(generator.integers(0, size // 2 - _SIDE)) for size in street.size)
        half = street.reduce(2)
        pixels = np.array(half.crop((left, top, left + _SIDE, top + _SIDE)))
        sides = generator.integers(_LEAST, _GREATEST + 1, generator.integers(1, _MOST + 1))
        name = f"{image:05d}.png"
        for side, x, y in _place(generator, sides):
            which = generator.integers(len(clothes[1]))
            piece = np.array(Image.fromarray(clothes[0][which]).resize((side, side)))
            if is_turned:
                piece = np.rot90(piece, generator.choice([1, 3]))
            shown = piece > _DARK
            pixels[y : y + side, x : x + side][shown] = piece[shown][:, None]
            rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
            if not len(rows):
                continue
            width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
            box = [x + columns[0], y + rows[0], width, height]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image,
                    "category_id": int(clothes[1][which]),
                    "bbox": [int(value) for value in box],
                    "area": int(width * height),
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(target / split / name)
        images.append({"id": image, "file_name": name, "width": _SIDE, "height": _SIDE})
    categories = [{"id": label, "name": name} for label, name in _CLASSES.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (target / f"{split}.json").write_text(json.dumps(document))


def _write_set(target: Path, scratch: Path, num_images: int) -> Path:
    """Writes the planted set and returns its folder."""
    streets = sorted(unpack("camvid-masks", scratch).rglob("*.jpg"))
    clothing = provide_fashion_mnist(scratch / "fashion-mnist")
    for number, (split, (share, part, is_turned)) in enumerate(_SPLITS.items()):
        # No street is in two splits.
        theirs, generator = streets[number :: len(_SPLITS)], np.random.default_rng(number)
        pixels, labels = _read_clothes(clothing, part)
        # Nor is a piece.
        half = slice(number % 2, None, 2) if part == "t10k" else slice(None)
        clothes = pixels[half], labels[half]
        count = round(share * num_images)
        _write_split(target, split, count, clothes, theirs, is_turned, generator)
    return target


def _run(source: Path, output: Path, epochs: int, seed: int, *options: str) -> dict[str, Any]:
    """Returns the report of a run."""
    command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", source]
    command += ["--output", output, "--seed", seed, "--epochs", epochs, "--max-minutes", 90]
    subprocess.run([*map(str, command), "--architecture", "separable", *options], check=False)
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return report


def main() -> None:
    """Prints what the runs print, then what was found and what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        results = arguments.results or scratch / "results"
        source = results / "turned-objects"
        if not (source / "test.json").exists():
            _write_set(source, scratch, arguments.images)
        found = {}
        for name, option in (
            ("search", "--search-augmentation"),
            ("plain", "--no-search-augmentation"),
        ):
            output = results / f"{name}-{arguments.seed}"
            found[name] = _run(source, output, arguments.epochs, arguments.seed, option)
        recipe = json.loads((results / f"search-{arguments.seed}" / "recipe.json").read_text())
    policy = json.dumps(recipe["sections"]["augmentation"]["policy"]["value"])
    searched = found["search"]["search"]
    result = {
        "decision": searched["decision"] or searched["skipped"],
        "is_found": any(f'"transform": "{name}"' in policy for name in _TURNING),
        "map50": {
            name: report["metrics"]["test"]["map50"]["value"] for name, report in found.items()
        },
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
