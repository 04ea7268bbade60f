"""Several devices of one machine; two logical CPUs stand for GPUs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

_TESTS = Path(__file__).with_name("two_replicas.py")


def test_two_replicas_in_a_process_with_two_devices(pytestconfig) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(_TESTS)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stdout
