"""A Kubernetes control plane for the tests of manifests and of placement."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_server import ControlPlane, running_control_plane

from manifests.kubectl import Kubectl

MANIFESTS = Path(__file__).parents[2] / "manifests"


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


@pytest.fixture
def filled_in(tmp_path: Path) -> Path:
    """A copy of the overlays with the values of a team: what they call YOUR-... is our-..."""
    copy = tmp_path / "manifests"
    for path in MANIFESTS.rglob("*.yaml"):
        target = copy / path.relative_to(MANIFESTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        if path.name == "settings.yaml":
            text = re.sub(r"YOUR-(\w+)", r"our-\1", text)
        target.write_text(text)
    return copy / "overlays"
