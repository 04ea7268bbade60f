"""Sets as they come, with every parameter at its default."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.data_import import fashion_mnist
from kfp_vision.components.shared.datasets.store import iterate_images, open_split

SHARED = Path(__file__).parents[4] / "shared" / "data"


def _unpacked(name: str, tmp_path: Path) -> Path:
    import tarfile

    archive = SHARED / f"{name}.tar"
    if not archive.exists():
        pytest.skip(f"{archive} is not on this machine")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return next(path for path in tmp_path.iterdir() if path.is_dir())


@pytest.mark.slow
def test_camvid_tiles(tmp_path, import_into):
    info, _ = import_into(_unpacked("camvid-tiles-multilabel", tmp_path))
    assert (info.task, len(info.classes), info.channels) == ("multilabel", 11, 3)
    assert (info.median_height, info.median_width) == (60, 60)
    assert info.rejected == {}


@pytest.mark.slow
def test_cifar10(tmp_path, import_into):
    info, _ = import_into(_unpacked("cifar10-10k", tmp_path))
    assert info.splits == {"train": 7200, "validation": 800, "test": 2000}
    assert len(info.classes) == 10


@pytest.mark.slow
def test_elpv_has_a_manifest_without_header(import_into):
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        pytest.skip("elpv-dataset is not installed")
    info, _ = import_into(Path(package.origin).parent / "data")
    assert (sum(info.splits.values()), info.channels) == (2624, 1)
    assert [round(float(name), 2) for name in info.classes] == [0.0, 0.33, 0.67, 1.0]


@pytest.mark.slow
def test_fashion_mnist_as_the_demo_gets_it(tmp_path, import_into):
    try:
        source = fashion_mnist.provide_fashion_mnist(tmp_path / "source")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    info, output_dir = import_into(source)
    assert info.splits == {"train": 54000, "validation": 6000, "test": 10000}
    # Published mean of the pixels of the training set: 0.2860 of white.
    means = [
        pixels.mean()
        for split in ("train", "validation")
        for pixels in iterate_images(open_split(output_dir, split), range(info.splits[split]))
    ]
    assert np.mean(means) / 255 == pytest.approx(0.2860, abs=1e-4)


def test_the_demo_says_what_to_do_without_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "_FOLDER", "no/such/folder")
    monkeypatch.setattr(fashion_mnist, "_PACKAGE", "no-such-package")
    monkeypatch.setattr(fashion_mnist, "_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"no-such-package.*Connect to the network"):
        fashion_mnist.provide_fashion_mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []
