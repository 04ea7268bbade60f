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
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kfp_pods import driver_pod
from manifests_cluster import NAMESPACE, resource_definition, stock_objects
from waiting import wait_until

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
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


def docker(**changes):
    """A script that answers as `docker info`, and has no image."""
    information = json.dumps({**ENGINE, **changes})
    return f"[ $1 = info ] || exit 1\nprintf '%s' '{information}'"


def refusal(answer):
    assert answer.returncode == 2
    assert "Received:" in answer.stderr
    return answer.stderr


def test_another_cluster_gets_no_overlay_that_nobody_asked_for(command):
    """It comes from the file; the cluster is not asked, and nothing is installed."""
    said = refusal(command("run", "--context", "theirs", kubectl="exit 1", git="exit 1"))
    assert "aks, eks, gke, kind, kueue. Received: ''. Choose one with OVERLAY=" in said


def test_an_overlay_of_a_cloud_is_for_a_cluster_that_is_named(command):
    assert "Received: gke. Name the cluster" in refusal(command("run", "--overlay", "gke"))


def test_deploy_needs_an_overlay(command):
    assert "Received: ''" in refusal(command("deploy", "", kubectl="exit 1"))


@pytest.mark.parametrize("name", ["gke", "eks", "aks"])
def test_an_overlay_whose_settings_are_not_filled_in(kubectl, name):
    with pytest.raises(ClusterError, match=rf"overlays/{name}/settings.yaml .*YOUR-BUCKET"):
        installation.read_overlay(kubectl, name)


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


@pytest.mark.parametrize("asked", ["8080", "8090"])
def test_the_page_of_a_cluster_is_at_the_port_of_its_creation(command, asked):
    node_port = yaml.safe_load((ROOT / "manifests/overlays/kind/ui.yaml").read_text())["spec"][
        "ports"
    ][0]["nodePort"]
    published = json.dumps({f"{node_port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8090"}]})
    programs = {
        "docker": f"[ $1 = inspect ] && printf '%s' '{published}'",
        "git": "",
        "kind": f"echo {kind_cluster.CLUSTER}",
        "kubectl": '[ "$3" = --raw=/readyz ]',
    }
    answer = command("run", "--port", asked, **programs)
    assert "is there, with its page at port 8090\n" in answer.stdout
    assert (f"not at {asked}" in answer.stdout) == (asked != "8090")


def test_a_cluster_without_a_port_for_the_page(command):
    kind = f"echo {kind_cluster.CLUSTER}"
    programs = {"docker": "echo null", "git": "", "kind": kind, "kubectl": "exit 0"}
    said = refusal(command("run", **programs))
    assert "Received: no port" in said
    assert "make clean-local" in said


def test_a_cluster_that_is_there_and_does_not_answer(command):
    """As one that is stopped, or whose creation was killed."""
    kind, kubectl = f"echo {kind_cluster.CLUSTER}", "echo refused >&2; exit 1"
    said = refusal(command("run", docker="exit 1", git="", kind=kind, kubectl=kubectl))
    assert "refused" in said
    assert f"docker start {kind_cluster.CLUSTER}-control-plane" in said
    assert "make clean-local" in said


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell may have started the tests in the background, where Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_creation_that_is_interrupted_leaves_no_half_cluster(
    command, free_port, tmp_path, interruptible
):
    asked = tmp_path / "asked"
    # The sleep is ended with it: `exec`.
    kind = f"echo $1 $2 $3 >> {asked}\n[ $1 = create ] && kill -INT $PPID && exec /bin/sleep 60"
    programs = {"docker": docker(), "git": "", "kind": f"{kind}\nexit 0", "kubectl": ""}
    answer = command("run", "--port", str(free_port()), **programs)
    assert answer.returncode == 130
    assert "the same command continues" in answer.stderr
    assert asked.read_text().splitlines()[-1] == "delete cluster --name"


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


def test_a_cluster_without_a_server(kubectl, plane):
    """Here nothing has asked for the fixture `server` yet."""
    with pytest.raises(ClusterError, match="Received: no namespace kubeflow"):
        installation.apply_overlay(kubectl, "kind")


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


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A repository with manifests of a server, as kubectl fetches them; takes the objects."""
    repository = tmp_path / "pipelines"
    folders = [
        repository / "manifests" / part
        for part in ("cluster-scoped-resources", "env/platform-agnostic")
    ]
    monkeypatch.setattr(installation, "_SOURCE", f"file://{repository}//manifests")
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "test")
        monkeypatch.setenv(f"{name}_EMAIL", "test@example.com")

    def write(*objects):
        parts = objects[:1], objects[1:]
        for folder, part in zip(folders, parts, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kustomization.yaml").write_text("resources: [objects.yaml]")
            (folder / "objects.yaml").write_text(yaml.safe_dump_all(part))
        for command in (
            ("init",),
            ("add", "."),
            ("commit", "--message=objects"),
            ("tag", "--force", installation.KFP_VERSION),
        ):
            subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)

    return write


def test_an_installation_that_stops_in_the_middle_is_completed(server, plane, source):
    """Objects that were made first do not say that all are there."""
    plane.kubectl("delete", "configmap", "pipeline-install-config", "-n", NAMESPACE)
    workflow = resource_definition("Workflow", "workflows")
    metadata = {"name": "pipeline-install-config", "namespace": NAMESPACE}
    data = {"appVersion": installation.KFP_VERSION}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    late = {"name": "late", "namespace": NAMESPACE}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": late}
    # A refusal stands for Ctrl-C: it comes as late every time.
    source(workflow, settings, service | {"spec": {"ports": [{"port": 0}]}})
    with pytest.raises(ClusterError, match="late"):
        installation.install_kfp(server)
    source(workflow, settings, service | {"spec": {"ports": [{"port": 80}]}})
    assert installation.install_kfp(server)
    assert server.get("service", "late")
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
    (deployment, *_) = (each for each in stock_objects() if each["kind"] == "Deployment")
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


def test_a_forwarded_port_is_not_blocked_by_what_kubectl_says(tmp_path, monkeypatch):
    """It prints a line for each connection: here more than a pipe holds."""
    ended = tmp_path / "ended"
    lines = 'line="Handling connection for 45678"; i=0\n'
    lines += "while [ $i -lt 4000 ]; do echo $line; i=$((i+1)); done"
    script = f"#!/bin/sh\necho Forwarding from 127.0.0.1:45678\n{lines}\n: > {ended}\nexec sleep 60"
    (tmp_path / "kubectl").write_text(script)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with Kubectl("any").forward("seaweedfs", 9000) as url:
        assert url == "http://127.0.0.1:45678"
        assert wait_until(ended.exists, 30)


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
