"""A Kubernetes control plane for the tests of manifests and of placement."""

from collections.abc import Iterator

import pytest
from kubernetes_server import ControlPlane, running_control_plane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running_control_plane(tmp_path_factory.mktemp("control_plane")) as plane:
        yield plane
