"""Times import and profile of synthetic images, and their peak memory.

`python tests/benchmarks/bench_import.py` measures an .npz of 60,000 images, a half and a quarter of
it, and 10,000 PNG files in class folders; with options, one source at a quarter, a half and all.

Each number is measured in a process of its own, because peak memory never falls.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

NUM_CLASSES = 10
_BLOCK = 10_000
_FOLDER_IMAGES = 10_000


def _blocks(num_images: int, size: int, channels: int):
    """Yields uint8 [n, size, size, channels] images of random blobs, none like another."""
    random = np.random.default_rng(0)
    for start in range(0, num_images, _BLOCK):
        count = min(_BLOCK, num_images - start)
        coarse = random.integers(0, 256, (count, 8, 8, channels), np.uint8)
        repeat = -(-size // 8)
        images = coarse.repeat(repeat, 1).repeat(repeat, 2)[:, :size, :size]
        yield start, images ^ random.integers(0, 8, images.shape, np.uint8)


def write_npz(root: Path, num_images: int, size: int, channels: int) -> None:
    """Writes `images` and `labels` without ever holding all of them."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (num_images, size, size, channels)}
    with zipfile.ZipFile(root / "all.npz", "w") as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, images in _blocks(num_images, size, channels):
                file.write(images.tobytes())
        with archive.open("labels.npy", "w") as file:
            labels = np.arange(num_images, dtype=np.int64) % NUM_CLASSES
            np.lib.format.write_array(file, labels, allow_pickle=False)


def write_png(root: Path, num_images: int, size: int, channels: int) -> None:
    """Writes class folders of PNG files."""
    for label in range(NUM_CLASSES):
        (root / str(label)).mkdir()
    for start, images in _blocks(num_images, size, channels):
        for index, pixels in enumerate(images, start):
            image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            image.save(root / str(index % NUM_CLASSES) / f"{index}.png")


SOURCES = {"npz": write_npz, "png": write_png}


def measure(root: Path, output_dir: Path) -> dict[str, float]:
    """Returns seconds and peak memory of import and profile, in this process.

    `cpu_s` counts all threads: unlike the others it hardly depends on what else the machine does.
    """
    from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
    from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
    from kfp_vision.components.shared.recipe.document import Recipe

    started = time.perf_counter()
    info = import_dataset(str(root), output_dir / "dataset", ImportConfig())
    imported = time.perf_counter()
    import_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (output_dir / "profile").mkdir()
    profile_images(output_dir / "dataset", Recipe(), output_dir / "profile", ProfileConfig())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images": sum(info.splits.values()),
        "import_s": round(imported - started, 2),
        "profile_s": round(time.perf_counter() - imported, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "import_peak_mib": import_peak // 1024,
        "peak_mib": used.ru_maxrss // 1024,
    }


def measure_apart(source: str, num_images: int, size: int, channels: int) -> dict[str, object]:
    """Writes a source and returns what `measure` says of it in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        root, output_dir = Path(temporary, "source"), Path(temporary, "out")
        root.mkdir()
        output_dir.mkdir()
        SOURCES[source](root, num_images, size, channels)
        command = [sys.executable, __file__, "--measure", str(root), str(output_dir)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    row = {"source": source, "size": size, **json.loads(run.stdout.splitlines()[-1])}
    print(row, flush=True)
    return row


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--source", default="", choices=["", *SOURCES])
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    parts = (arguments.images // 4, arguments.images // 2, arguments.images)
    cases = [(arguments.source or "npz", number) for number in parts]
    if not arguments.source:
        cases.append(("png", _FOLDER_IMAGES))
    rows = [
        measure_apart(source, number, arguments.size, arguments.channels)
        for source, number in cases
    ]
    print("RESULT", json.dumps({"runs": rows}))


if __name__ == "__main__":
    main()
