"""A cluster of kind on this machine, and what the machine must have for it."""

import json
import shutil
import socket
import subprocess

import yaml

from kfp_vision.components.shared.runtime.container_images import CPU_IMAGE
from kfp_vision.pipelines.cluster.profile import read_profile
from kfp_vision.pipelines.resources import STAGES
from manifests.kubectl import ClusterError, Kubectl

__all__ = [
    "CLUSTER",
    "CONTEXT",
    "NODE_IMAGE",
    "SERVER_CPUS",
    "SERVER_GIB",
    "check",
    "check_machine",
    "check_port",
    "check_tools",
    "create",
    "delete",
    "exists",
    "load_image",
    "page_port",
]

CLUSTER = "kfp-vision"
CONTEXT = f"kind-{CLUSTER}"
_NODE = f"{CLUSTER}-control-plane"
# kind and node as in KFP's own tests of this version.
NODE_IMAGE = "kindest/node:v1.36.1"
# Port of the service kfp-vision-ui on the node: overlays/kind/ui.yaml.
_UI_NODE_PORT = 31380
_NODE_S = 300
# What the pods of kind's own node, of the server and of a driver ask for together.
SERVER_GIB, SERVER_CPUS = 3.5, 1.9
_WHERE = {
    "docker": "https://docs.docker.com/engine/install",
    "git": "https://git-scm.com/downloads",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start#installation",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
}


def check_tools(*names: str) -> None:
    """Checks that programs are there.

    Raises:
        ClusterError: One is missing; the message says where to get it.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        places = "\n".join(f"  {name}: {_WHERE[name]}" for name in missing)
        raise ClusterError(
            f"{', '.join(names)} must be on the PATH. Received: no {', no '.join(missing)}.\n"
            f"{places}"
        )


def check_machine(port: int) -> None:
    """Checks what a new cluster needs: an engine with memory and CPUs, and a free port.

    Raises:
        ClusterError: Something is missing.
    """
    answer = subprocess.run(
        ["docker", "info", "--format", "{{json .}}"], capture_output=True, text=True
    )
    info = json.loads(answer.stdout or "{}")
    errors = info.get("ServerErrors") or []
    if answer.returncode or errors or not info.get("MemTotal"):
        said = "; ".join(errors) or answer.stderr.strip() or "no answer"
        raise ClusterError(f"The Docker engine must run. Received: {said}. Start it, and again.")
    # What pods may ask for is what the engine has; Docker Desktop has a limit of its own.
    profile = read_profile("local")
    stages = [profile.resources(stage) for stage in STAGES]
    memory = SERVER_GIB + max(stage.memory_gib for stage in stages)
    cpus = SERVER_CPUS + max(stage.cpus for stage in stages)
    if info["MemTotal"] / 2**30 < memory:
        raise ClusterError(
            f"The server and the largest stage need {memory:g} GiB of memory. Received: "
            f"{info['MemTotal'] / 2**30:.1f} GiB. Give the Docker engine more, or use another "
            "cluster: CONTEXT=..."
        )
    if info["NCPU"] < cpus:
        raise ClusterError(
            f"The server and the largest stage need {cpus:g} CPUs. Received: {info['NCPU']}. Give "
            "the Docker engine more, or use another cluster: CONTEXT=..."
        )
    check_port(port)


def check_port(port: int) -> None:
    """Checks that a port of this machine is free.

    Raises:
        ClusterError: Somebody listens on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ClusterError(
                f"The port of the page must be free. Received: {port} ({error.strerror}). Choose "
                "another: make run-local PORT=8090"
            ) from error


def exists() -> bool:
    """Returns whether the cluster is there, running or not."""
    answer = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True)
    return CLUSTER in answer.stdout.split()


def check() -> None:
    """Checks that the cluster answers.

    Raises:
        ClusterError: It is stopped, or its creation was.
    """
    try:
        Kubectl(CONTEXT).check()
    except ClusterError as error:
        raise _not_up(str(error)) from error


def page_port() -> int:
    """Returns the port of this machine that its creation has given to the page.

    Raises:
        ClusterError: There is none.
    """
    command = ["docker", "inspect", "--format", "{{json .HostConfig.PortBindings}}", _NODE]
    answer = subprocess.run(command, capture_output=True, text=True)
    bindings = (json.loads(answer.stdout or "null") or {}).get(f"{_UI_NODE_PORT}/tcp")
    if not bindings:
        said = answer.stderr.strip() or "no port"
        raise ClusterError(
            f"{_NODE} must publish its port {_UI_NODE_PORT}. Received: {said}. `make clean-local` "
            "removes it."
        )
    return int(bindings[0]["HostPort"])


def create(port: int) -> None:
    """Creates the cluster; its page will be at this port of 127.0.0.1.

    Raises:
        ClusterError: It does not come up.
    """
    mapping = {"containerPort": _UI_NODE_PORT, "hostPort": port, "listenAddress": "127.0.0.1"}
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "extraPortMappings": [mapping]}],
    }
    command = ["kind", "create", "cluster", "--name", CLUSTER, "--image", NODE_IMAGE]
    try:
        answer = subprocess.run(
            [*command, "--config=-"], input=yaml.safe_dump(config), capture_output=True, text=True
        )
    except KeyboardInterrupt:
        # What kind leaves behind looks like a cluster, and never becomes one.
        delete()
        raise
    if answer.returncode:
        raise _not_up(answer.stderr.strip())
    try:
        # kind itself only warns of a node that is not ready.
        ready = ("--for=condition=Ready", "nodes", "--all", f"--timeout={_NODE_S}s")
        Kubectl(CONTEXT).run("wait", *ready)
    except ClusterError as error:
        raise _not_up(str(error)) from error


def _not_up(said: str) -> ClusterError:
    return ClusterError(
        f"The cluster {CLUSTER} must come up. Received:\n{said}\n`kind export logs --name "
        f"{CLUSTER}` collects its logs, `docker start {_NODE}` starts a stopped one, `make "
        "clean-local` removes it."
    )


def load_image() -> None:
    """Brings the image of this code into the cluster; what is there already is not copied.

    Raises:
        ClusterError: The image is not built, or cannot be copied.
    """
    inspected = subprocess.run(["docker", "image", "inspect", CPU_IMAGE], capture_output=True)
    if inspected.returncode:
        raise ClusterError(
            f"The image of this code must be built. Received: no {CPU_IMAGE}. Run `make images`."
        )
    answer = subprocess.run(
        ["kind", "load", "docker-image", CPU_IMAGE, "--name", CLUSTER],
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise ClusterError(f"The image {CPU_IMAGE} cannot be loaded: {answer.stderr.strip()}")


def delete() -> None:
    """Removes the cluster with everything in it; its image of the node stays.

    Raises:
        ClusterError: It cannot be removed.
    """
    command = ["kind", "delete", "cluster", "--name", CLUSTER]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise ClusterError(f"The cluster {CLUSTER} cannot be removed: {answer.stderr.strip()}")
