"""Equal code has equal digests, and an image of development is named after what it is made from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_vision.components.shared.runtime.code_version import (
    LIBRARIES,
    code_digest,
    image_tag,
    source_digest,
)

ROOT = Path(__file__).parents[4]
_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from kfp_vision.components.shared.runtime import code_version as each
print(each.code_digest(), each.source_digest(), each.image_tag("1.0.dev0"))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package: the one that is tested stays as it is."""
    root = tmp_path_factory.mktemp("copy") / "kfp_vision"
    shutil.copytree(ROOT / "src/kfp_vision", root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def digests(package: Path) -> tuple[str, ...]:
    command = [sys.executable, "-c", _CODE, str(package.parent)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(answer.stdout.split())


def test_a_release_is_named_by_its_version_and_other_code_by_its_digest_too() -> None:
    assert image_tag("1.2.0") == "1.2.0"
    assert image_tag("1.3.0.dev0") == f"1.3.0.dev0-{source_digest()}"


@pytest.mark.parametrize(
    "file", ["components/training/train.py", "pipelines/local/worker.py", "pipelines/new.py"]
)
def test_a_line_of_code_makes_other_digests_at_the_same_version(file: str, package: Path) -> None:
    before = digests(package)
    assert digests(package) == before
    with (package / file).open("a") as source:
        source.write("\n# Changed.\n")
    assert not {*digests(package)} & {*before}


@pytest.mark.parametrize(
    "file", ["Dockerfile", "install.sh", "requirements-cpu.txt", "requirements-gpu.txt"]
)
def test_what_an_image_is_made_from_is_in_its_name(file: str, package: Path) -> None:
    before = digests(package)
    with (package / "images" / file).open("a") as source:
        source.write("\n# Changed.\n")
    after = digests(package)
    assert after[0] == before[0]
    assert not {*after[1:]} & {*before[1:]}


@pytest.mark.parametrize("name", LIBRARIES)
def test_another_release_of_a_library_is_another_code_of_the_same_source(
    name, tmp_path, monkeypatch
):
    def found() -> tuple[str, str]:
        return code_digest.__wrapped__(), source_digest.__wrapped__()

    before = found()
    info = tmp_path / f"{name.replace('-', '_')}-99.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.9\n")
    assert found() == before
    monkeypatch.syspath_prepend(tmp_path)
    after = found()
    assert after[0] != before[0]
    assert after[1] == before[1]
