"""Workflows as a real server kept them: Kubeflow Pipelines 2.17.0 on Argo 4.0.5, trimmed."""

from pathlib import Path

import pytest

from kfp_vision.pipelines.cluster.workflow import read_workflow

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def workflow():
    """A run whose evaluation lost its pod once; Argo has packed its nodes."""
    return read_workflow((RECORDED / "workflow_deleted_pod.json").read_text())


def test_its_stages_are_those_of_the_pipeline_in_their_order(workflow):
    names = [stage.name for stage in workflow.stages]
    assert names[:4] == ["list-sources", "import-dataset", "profile-dataset", "check-profile"]
    assert names[-4:] == ["evaluate-model", "export-model", "publish", "check-model"]
    assert {stage.state for stage in workflow.stages} == {"done"}
    assert workflow.namespace == "kubeflow"


def test_attempts_have_the_names_of_their_pods(workflow):
    (stage,) = [each for each in workflow.stages if each.name == "evaluate-model"]
    first, second = stage.attempts
    assert first.failed
    assert first.message == "main: Error (exit code 137)"
    # As `kubectl get pods` has shown it.
    kind = "kfp-vision-training-68jxc-metadata-0-1-retry-system-container-impl"
    assert first.pod == f"{kind}-1502823740"
    assert (second.phase, stage.seconds) == ("Succeeded", 47.0)


@pytest.mark.parametrize("manifest", ["", "{}", '{"status": {"phase": "Pending"}}'])
def test_before_its_start_nothing_has_begun(manifest):
    assert read_workflow(manifest).stages == ()
