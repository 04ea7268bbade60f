"""Minutes of a default run on 1,000 large photographs.

python tests/benchmarks/bench_photographs.py [--images 1000] [--side 3000]

Every photograph is a part of one of ants-bees, enlarged until its long side has so many pixels and
written as JPEG, as a camera does. Parts of one photograph are in the same split.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_real_sets import unpack
from PIL import Image

_TEST_SHARE = 0.2


def photographs(source: Path, folder: Path, count: int, side: int) -> Path:
    """Writes SPLIT/CLASS/*.jpg and returns the folder.

    Args:
        source: With the same structure.
        folder: Is created.
        count: Photographs of both splits together.
        side: Pixels of the long side.
    """
    shares = {"train": count - round(_TEST_SHARE * count), "test": round(_TEST_SHARE * count)}
    for split, wanted in shares.items():
        paths = sorted((source / split).rglob("*.jpg"))
        random = np.random.default_rng(0)
        for number in range(wanted):
            path = paths[number % len(paths)]
            with Image.open(path) as image:
                width, height = image.size
                share = random.uniform(0.7, 0.9)
                left, top = random.uniform(0, 1 - share, 2) * (width, height)
                box = (left, top, left + share * width, top + share * height)
                scale = side / max(image.size)
                size = (round(scale * width), round(scale * height))
                enlarged = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box)
            target = folder / split / path.parent.name / f"{path.stem}_{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            enlarged.save(target, quality=90)
    return folder


def main() -> None:
    """Prints what the run prints, then minutes, metric and that of frozen features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=3000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = unpack("ants-bees", folder)
        dataset = photographs(source, folder / "photos", arguments.images, arguments.side)
        size = sum(path.stat().st_size for path in dataset.rglob("*.jpg"))
        command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", dataset]
        began = time.monotonic()
        subprocess.run([*map(str, command), "--output", str(folder / "out")], check=True)
        minutes = (time.monotonic() - began) / 60
        report = json.loads((folder / "out/report.json").read_text())
    primary = report["metrics"]["primary"]
    result = {
        "images": arguments.images,
        "side": arguments.side,
        "megabytes": round(size / 1e6),
        "minutes": round(minutes, 2),
        "auto": round(report["metrics"]["test"][primary]["value"], 4),
        "frozen_features": round(report["baselines"]["frozen_features"][primary]["value"], 4),
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
