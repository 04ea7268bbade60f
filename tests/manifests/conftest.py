"""A Kubernetes control plane for the tests of manifests and of placement."""

from collections.abc import Iterator

import pytest
from kubernetes_server import ControlPlane, running_control_plane

from manifests.kubectl import Kubectl


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """New for every module: each has another state of the namespace `kubeflow`."""
    with running_control_plane(tmp_path_factory.mktemp("control_plane")) as plane:
        yield plane


@pytest.fixture(scope="module")
def kubectl(plane: ControlPlane) -> Iterator[Kubectl]:
    """The `kubectl` of our programs, for that cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(plane.kubeconfig))
        yield Kubectl(plane.context)
