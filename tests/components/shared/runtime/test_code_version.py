"""Equal code has equal digests, and an image of development is named after its code."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_vision.components.shared.runtime.code_version import code_digest, image_tag

ROOT = Path(__file__).parents[4]


def test_a_release_is_named_by_its_version_and_other_code_by_its_digest_too() -> None:
    assert image_tag("1.2.0") == "1.2.0"
    assert image_tag("1.3.0.dev0") == f"1.3.0.dev0-{code_digest()}"


@pytest.mark.parametrize(
    "file", ["components/training/train.py", "pipelines/local/worker.py", "pipelines/new.py"]
)
def test_a_line_of_code_makes_another_digest_at_the_same_version(file: str, tmp_path: Path) -> None:
    """Of a copy of the package: the one that is tested stays as it is."""
    root = tmp_path / "kfp_vision"
    shutil.copytree(ROOT / "src/kfp_vision", root, ignore=shutil.ignore_patterns("__pycache__"))
    module = "kfp_vision.components.shared.runtime.code_version"
    code = f"from {module} import code_digest; print(code_digest())"

    def digest() -> str:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, '{tmp_path}'); {code}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        return answer.stdout

    before = digest()
    assert digest() == before
    with (root / file).open("a") as source:
        source.write("\n# Changed.\n")
    assert digest() != before
