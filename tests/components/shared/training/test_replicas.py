"""Several devices of one machine; logical CPUs stand for GPUs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


@pytest.mark.parametrize("tests", ["two_replicas.py", "eight_replicas.py"])
def test_replicas_in_a_process_with_several_devices(pytestconfig, tests) -> None:
    path = Path(__file__).with_name(tests)
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(path)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stdout
