"""The nightly workflow runs every end-to-end test on the cluster that `make run-local` makes."""

from pathlib import Path

import pytest
import yaml
from cluster_faults import FAULTS, missing_commands
from kfp_backend import Backend

from manifests import installation, kind_cluster
from manifests.__main__ import parser
from manifests.kubectl import NAMESPACE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def step(monkeypatch):
    """The step of the tests, in whose environment this process is."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    steps = workflow["jobs"]["kind"]["steps"]
    (step,) = (each for each in steps if "make test-e2e" in each.get("run", ""))
    for name, value in step["env"].items():
        monkeypatch.setenv(name, value)
    return step


def test_its_server_is_that_of_run_local(step):
    backend = Backend.from_environment()
    port = parser().parse_args(["run"]).port
    assert backend.host == f"http://127.0.0.1:{port}"
    assert backend.context == kind_cluster.CONTEXT
    assert backend.namespace == NAMESPACE
    assert backend.options[-2:] == ("--secret", installation.SECRET)


def test_no_fault_is_left_out(step):
    assert [fault.name for fault in FAULTS if missing_commands(fault)] == []
