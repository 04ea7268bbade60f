"""What `make run-local` says when something is missing, and its steps on a real API server.

kind itself cannot run in a test; where it is asked, a script answers as it would.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from kfp_pods import driver_pod
from manifests_cluster import NAMESPACE, stock_objects

from kfp_vision.components.shared.runtime.container_images import CPU_IMAGE
from manifests import installation, kind_cluster
from manifests.__main__ import main, wait_for_exit
from manifests.kubectl import ClusterError, Kubectl

ROOT = Path(__file__).parents[2]
TOOLS = ("docker", "git", "kind", "kubectl")
ENGINE = {"MemTotal": 16 * 2**30, "NCPU": 4}


@pytest.fixture(scope="module")
def server(plane, kubectl):
    """A server whose workflow controller is elsewhere."""
    plane.create(*(each for each in stock_objects() if each["kind"] != "Deployment"))
    return kubectl


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs a command with the given programs on the PATH, and no other; they are shell scripts."""

    def run(*arguments, **programs):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, script in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr("sys.argv", ["manifests", *arguments])
        code = main()
        return subprocess.CompletedProcess(arguments, code, stderr=capfd.readouterr().err)

    return run


def docker(**changes):
    """A script that answers as `docker info`, and has no image."""
    information = json.dumps({**ENGINE, **changes})
    return f"[ $1 = info ] || exit 1\nprintf '%s' '{information}'"


def refusal(answer):
    assert answer.returncode == 2
    assert "Received:" in answer.stderr
    return answer.stderr


def test_every_missing_tool_is_named_with_where_to_get_it(command):
    said = refusal(command("run"))
    assert "no docker, no git, no kind, no kubectl" in said
    assert said.count("https://") == len(TOOLS)


@pytest.mark.parametrize("missing", TOOLS)
def test_one_missing_tool_is_named(command, missing):
    there = {name: "exit 0" for name in TOOLS if name != missing}
    assert f"Received: no {missing}.\n" in refusal(command("run", **there))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo cannot connect >&2; exit 1", "The Docker engine must run. Received: cannot connect"),
        (docker(ServerErrors=["no socket"], MemTotal=0), "Received: no socket"),
        (docker(MemTotal=8 * 2**30), "GiB of memory. Received: 8.0 GiB"),
        (docker(NCPU=2), "CPUs. Received: 2"),
    ],
    ids=["no-answer", "no-engine", "little-memory", "two-cpus"],
)
def test_an_engine_that_cannot_hold_the_cluster(command, script, said):
    assert said in refusal(command("run", docker=script, git="", kind="", kubectl=""))


def test_a_port_that_is_taken(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        programs = {"docker": docker(), "git": "", "kind": "", "kubectl": ""}
        said = refusal(command("run", "--port", port, **programs))
    assert f"Received: {port} (Address already in use)" in said
    assert "PORT=" in said


@pytest.mark.parametrize(
    ("kind", "kubectl", "said"),
    [
        (
            "[ $1 = create ] && { echo no node image >&2; exit 1; }; exit 0",
            "exit 0",
            "no node imag",
        ),
        ("exit 0", "echo timed out waiting for nodes >&2; exit 1", "timed out waiting for nodes"),
    ],
    ids=["not-created", "node-not-ready"],
)
def test_a_cluster_that_does_not_come_up(command, free_port, kind, kubectl, said):
    programs = {"docker": docker(), "git": "", "kind": kind, "kubectl": kubectl}
    message = refusal(command("run", "--port", str(free_port()), **programs))
    assert said in message
    assert "make clean-local" in message


def test_a_context_that_does_not_answer(command, free_port, tmp_path, monkeypatch):
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"server": f"http://127.0.0.1:{free_port()}"}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "gone", "cluster": cluster}],
                "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": ""}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with pytest.raises(ClusterError, match="must answer. Received: gone, .*refused"):
        Kubectl("gone").check()
    with pytest.raises(ClusterError, match="Received: another"):
        Kubectl("another").check()


def test_what_a_new_cluster_is(command, tmp_path):
    """The port of the page leads to the service that the overlay for kind has."""
    asked = tmp_path / "asked"
    kind = (
        f'echo $* >> {asked}\n[ $1 = create ] && while read line; do echo "$line"; done >> {asked}'
    )
    programs = {"docker": docker(), "git": "", "kind": f"{kind}\nexit 0", "kubectl": "exit 1"}
    command("run", "--port", "45678", **programs)
    text = asked.read_text()
    assert f"--image {kind_cluster.NODE_IMAGE}" in text
    service = yaml.safe_load((ROOT / "manifests/overlays/kind/ui.yaml").read_text())
    assert f"containerPort: {service['spec']['ports'][0]['nodePort']}" in text
    assert "hostPort: 45678" in text


def test_an_image_that_is_not_built(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=f"Received: no {CPU_IMAGE}. Run `make images`"):
        kind_cluster.load_image()


def test_an_overlay_that_does_not_exist(kubectl):
    with pytest.raises(ClusterError, match="aks, eks, gke, kind, kueue. Received: 'azure'"):
        installation.apply_overlay(kubectl, "azure")


def test_objects_that_a_server_does_not_have_are_left_out_and_named(server, plane):
    """As where the workflow controller is in another namespace."""
    assert installation.apply_overlay(server, "kind") == ["Deployment/workflow-controller"]
    assert server.get("networkpolicy", "kfp-vision")
    assert server.get("deployment", "workflow-controller") is None


def test_a_server_of_another_version_is_not_touched(server, plane):
    config = {"apiVersion": "v1", "kind": "ConfigMap"}
    metadata = {"name": "pipeline-install-config", "namespace": NAMESPACE}
    plane.create({**config, "metadata": metadata, "data": {"appVersion": "2.5.0"}})
    with pytest.raises(ClusterError, match="must be 2.17.0. Received: 2.5.0"):
        installation.install_kfp(server)
    plane.kubectl("delete", "configmap", metadata["name"], "-n", NAMESPACE)
    data = {"appVersion": installation.KFP_VERSION}
    plane.create({**config, "metadata": metadata, "data": data})
    assert not installation.install_kfp(server)


def test_the_secret_of_tasks_gets_the_keys_of_the_store_once(server, plane):
    with pytest.raises(ClusterError, match="Received: neither"):
        installation.storage_secret(server)
    metadata = {"name": "mlpipeline-minio-artifact", "namespace": NAMESPACE}
    keys = {"accesskey": "reader", "secretkey": "of the store"}
    plane.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    made = installation.storage_secret(server)
    assert (made["AWS_ACCESS_KEY_ID"], made["AWS_SECRET_ACCESS_KEY"]) == tuple(keys.values())
    plane.kubectl("delete", "secret", metadata["name"], "-n", NAMESPACE)
    assert installation.storage_secret(server) == made


def test_a_server_that_does_not_become_ready_says_which_pod_and_why(server, plane):
    """Here no controller makes it available, and no node takes the pod."""
    installation.wait_until_ready(server, 1)  # It has no deployment yet.
    (deployment,) = (each for each in stock_objects() if each["kind"] == "Deployment")
    pod = driver_pod(NAMESPACE)
    plane.create(deployment, pod)
    with pytest.raises(ClusterError) as error:
        installation.wait_until_ready(server, 1)
    said = str(error.value)
    assert "Received: workflow-controller not available" in said
    assert f"{pod['metadata']['name']}: Unschedulable: no nodes available" in said
    generation = server.get("deployment", "workflow-controller")["metadata"]["generation"]
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    status = json.dumps({"status": {"observedGeneration": generation, **counts}})
    path = ("deployment", "workflow-controller", "-n", NAMESPACE, "--subresource=status")
    plane.kubectl("patch", *path, "--patch", status)
    installation.wait_until_ready(server, 1)
    plane.kubectl("delete", "deployment", "workflow-controller", "-n", NAMESPACE)


def test_a_service_that_is_not_there(server):
    with (
        pytest.raises(ClusterError, match="The port of seaweedfs cannot be forwarded: .*not found"),
        server.forward("seaweedfs", 9000),
    ):
        pass


def test_the_end_of_following_is_told_by_the_program_that_follows():
    """Ctrl-C reaches both; the one in front waits for the other, which says how to come back."""
    # A shell may have started the tests in the background, where Ctrl-C is ignored.
    script = "import signal, sys, time; signal.signal(2, signal.default_int_handler)\n"
    script += "print('on', flush=True)\ntry: time.sleep(60)\n"
    script += "except KeyboardInterrupt: time.sleep(1); sys.exit(130)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for pid in (process.pid, os.getpid()):
        threading.Timer(0.2, os.kill, (pid, signal.SIGINT)).start()
    assert wait_for_exit(process) == 130
    process.stdout.close()
