"""A real API server takes every overlay on top of what KFP has installed, and our pods with it."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from compiled_pipeline import all_tasks
from kfp_pods import driver_pod, executor_pod
from kubernetes_programs.build import kueue_resources
from manifests_cluster import NAMESPACE, resource_definition, stock_objects

from kfp_vision.pipelines.cluster.placement import PART_LABEL, QUEUE_LABEL, SECRET_KEYS
from kfp_vision.pipelines.cluster.profile import PROFILES, read_profile
from manifests.installation import apply_overlay

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
ON_KFP = [name for name in OVERLAYS if name != "kueue"]
ACCOUNT = f"--as=system:serviceaccount:{NAMESPACE}:kfp-vision"


def apply(plane, *options, stdin=""):
    flags = ("--server-side", "--force-conflicts", "--field-manager=kfp-vision")
    return plane.kubectl("apply", *flags, *options, stdin=stdin)


@pytest.fixture(scope="module")
def kfp(plane):
    """A cluster with the objects that KFP's own manifests make, applied as its page says."""
    resources = [("Workflow", "workflows"), ("WorkflowTaskResult", "workflowtaskresults")]
    plane.create(*(resource_definition(*names) for names in resources))
    items = {"apiVersion": "v1", "kind": "List", "items": stock_objects()}
    answer = plane.kubectl("apply", "--filename=-", stdin=json.dumps(items))
    assert answer.returncode == 0, answer.stderr
    return plane


@pytest.fixture(scope="module")
def kueue(kfp):
    if not kueue_resources().exists():
        pytest.skip(f"There is no {kueue_resources()}: `make kubernetes`.")
    answer = apply(kfp, f"--filename={kueue_resources()}")
    assert answer.returncode == 0, answer.stderr
    kfp.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return kfp


@pytest.fixture(scope="module")
def installed(kfp, kubectl):
    """The overlay for one machine, applied twice as a second `make run-local` does."""
    for _ in range(2):
        assert apply_overlay(kubectl, "kind") == []
    return kfp


def rendered(plane, name):
    answer = plane.kubectl("kustomize", str(MANIFESTS / "overlays" / name))
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def one(objects, kind, name):
    (found,) = (
        each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_server_takes_every_object_of_an_overlay(kfp, request, name):
    if name == "kueue":
        request.getfixturevalue("kueue")
    path = str(MANIFESTS / "overlays" / name)
    answer = apply(kfp, "--dry-run=server", "--validate=strict", "--kustomize", path)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == len(rendered(kfp, name))


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_overlay_holds_a_key(kfp, name):
    assert not [each for each in rendered(kfp, name) if each["kind"] == "Secret"]


@pytest.mark.parametrize("name", ["gke", "eks", "aks"])
def test_the_values_of_a_team_go_everywhere(kfp, filled_in, name):
    """What an overlay calls YOUR-... is in settings.yaml, and set there is set in every object."""
    answer = kfp.kubectl("kustomize", str(filled_in / name))
    assert "YOUR" not in answer.stdout
    values = yaml.safe_load((filled_in / name / "settings.yaml").read_text())["data"]
    assert all(value in answer.stdout for value in values.values())


@pytest.mark.parametrize(
    ("name", "annotation"),
    [("gke", "iam.gke.io/gcp-service-account"), ("eks", "eks.amazonaws.com/role-arn")],
)
def test_runs_and_the_server_have_an_identity_of_the_cloud(kfp, name, annotation):
    objects = rendered(kfp, name)
    accounts = [each["metadata"] for each in objects if each["kind"] == "ServiceAccount"]
    assert {each["name"] for each in accounts} == {"kfp-vision", "ml-pipeline", "ml-pipeline-ui"}
    assert all(each["annotations"][annotation] for each in accounts)
    assert read_profile(name).service_account == "kfp-vision"
    assert not read_profile(name).secret
    launcher = one(objects, "ConfigMap", "kfp-launcher")["data"]
    scheme = launcher["defaultPipelineRoot"].split(":")[0]
    assert yaml.safe_load(launcher["providers"])[scheme]["default"]["credentials"]["fromEnv"]


def test_on_eks_pods_of_the_server_are_made_anew_for_another_role(kfp, filled_in):
    """EKS gives a role to new pods only; the same role again changes nothing."""
    answer = kfp.kubectl("kustomize", str(filled_in / "eks"))
    objects = list(yaml.safe_load_all(answer.stdout))
    accounts = {
        each["metadata"]["name"]: each["metadata"]["annotations"]
        for each in objects
        if each["kind"] == "ServiceAccount"
    }
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    names = [each["metadata"]["name"] for each in deployments]
    assert {"kfp-vision", *names} == set(accounts)
    mark = "kubectl.kubernetes.io/last-applied-configuration-"
    kfp.kubectl("annotate", "deployment", *names, "-n", NAMESPACE, mark)
    stock = kfp.get("get", "deployment", *names, "-n", NAMESPACE)["items"]
    for _ in range(2):
        answer = apply(kfp, "--filename=-", stdin=yaml.safe_dump_all(deployments))
        assert answer.returncode == 0, answer.stderr
    found = kfp.get("get", "deployment", *names, "-n", NAMESPACE)["items"]
    for before, after in zip(stock, found, strict=True):
        assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
        template = after["spec"]["template"]
        assert template["metadata"]["annotations"] == accounts[after["metadata"]["name"]]
        assert template["spec"]["containers"] == before["spec"]["template"]["spec"]["containers"]


def test_on_azure_the_server_uses_the_secret_of_the_profile(kfp):
    launcher = one(rendered(kfp, "aks"), "ConfigMap", "kfp-launcher")["data"]
    reference = yaml.safe_load(launcher["providers"])["s3"]["default"]["credentials"]["secretRef"]
    assert reference["secretName"] == read_profile("aks").secret
    assert {reference["accessKeyKey"], reference["secretKeyKey"]} <= set(SECRET_KEYS)


def test_the_template_of_the_secret_has_our_keys_and_no_value(kfp):
    path = MANIFESTS / "storage-secret.yaml"
    template = yaml.safe_load(path.read_text())
    assert template["stringData"] == dict.fromkeys(SECRET_KEYS, "")
    answer = kfp.kubectl("create", "--dry-run=server", "-n", NAMESPACE, "-f", str(path))
    assert answer.returncode == 0, answer.stderr


def test_what_kfp_has_set_stays(installed):
    """Only the fields of our files change in objects that KFP has made."""
    get = installed.get
    labels = get("get", "namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    config = get("get", "configmap", "workflow-controller-configmap", "-n", NAMESPACE)["data"]
    assert config["executor"] == "imagePullPolicy: IfNotPresent"
    (container,) = get("get", "deployment", "workflow-controller", "-n", NAMESPACE)["spec"][
        "template"
    ]["spec"]["containers"]
    assert container["image"].startswith("quay.io/argoproj/workflow-controller")
    assert {each["name"] for each in container["env"]} == {
        "TRANSIENT_ERROR_PATTERN",
        "DEFAULT_REQUEUE_TIME",
    }


def test_every_failure_of_a_pod_is_retried(installed):
    """A task has a number of its own; with this one a driver outlives a restart of the server."""
    config = installed.get("get", "configmap", "workflow-controller-configmap", "-n", NAMESPACE)
    defaults = yaml.safe_load(config["data"]["workflowDefaults"])["spec"]
    assert defaults["templateDefaults"]["retryStrategy"] == {
        "limit": "3",
        "retryPolicy": "Always",
        "expression": "lastRetry.message != ''",
        "backoff": {"duration": "5s", "factor": "2"},
    }


@pytest.mark.parametrize("name", PROFILES)
def test_restricted_admits_every_pod_of_a_run(installed, tmp_path, name):
    """As the server makes them of the compiled pipeline, with every field of a profile used."""
    profile = dataclasses.replace(
        read_profile(name),
        secret="kfp-vision-storage",
        google_secret="google",
        image_pull_secret="registry",
        queue="kfp-vision",
        workspace="kfp-vision-workspace",
    )
    pods = [executor_pod(task, NAMESPACE) for task in all_tasks(tmp_path, profile)]
    items = {"apiVersion": "v1", "kind": "List", "items": [driver_pod(NAMESPACE), *pods]}
    answer = installed.kubectl(
        "create", "--dry-run=server", "--output=yaml", "-f", "-", stdin=json.dumps(items)
    )
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr
    made = list(yaml.load_all(answer.stdout, yaml.CSafeLoader))
    assert len(made) == len(pods) + 1
    for pod in made:
        for container in pod["spec"]["containers"]:
            # Of the LimitRange: what a file for the server cannot ask for.
            assert container["resources"]["requests"]["ephemeral-storage"]


def test_restricted_refuses_a_task_that_may_be_root(installed, tmp_path):
    pod = executor_pod(all_tasks(tmp_path, read_profile("local"))[0], NAMESPACE)
    for container in pod["spec"]["containers"]:
        container["securityContext"].pop("runAsNonRoot", None)
    answer = installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert "runAsNonRoot != true" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("create", "workflowtaskresults.argoproj.io"), True),
        (("patch", "workflowtaskresults.argoproj.io"), True),
        (("get", "configmap/kfp-launcher"), True),
        (("get", "secret/mlpipeline-minio-artifact"), True),
        (("get", "secret/kfp-vision-storage"), True),
        (("get", "secret/mysql-secret"), False),
        (("list", "secrets"), False),
        (("get", "configmap/workflow-controller-configmap"), False),
        (("get", "pods"), False),
        (("create", "pods"), False),
        (("create", "pods/exec"), False),
        (("get", "workflows.argoproj.io"), False),
        (("delete", "persistentvolumeclaims"), False),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, tuple) else str(each),
)
def test_a_run_may_do_what_it_needs_and_nothing_else(installed, arguments, allowed):
    answer = installed.kubectl("auth", "can-i", *arguments, "-n", NAMESPACE, ACCOUNT)
    assert answer.stdout.strip() == ("yes" if allowed else "no"), answer.stderr


def test_policies_select_the_pods_of_tasks(kfp, tmp_path):
    policy = one(rendered(kfp, "kind"), "NetworkPolicy", "kfp-vision")
    assert policy["spec"]["podSelector"]["matchLabels"] == PART_LABEL
    pods = [executor_pod(task, NAMESPACE) for task in all_tasks(tmp_path, read_profile("gke"))]
    assert all(PART_LABEL.items() <= pod["metadata"]["labels"].items() for pod in pods)


@pytest.mark.parametrize(
    ("port", "protocol", "allowed"),
    [
        (53, "UDP", True),
        (53, "TCP", True),
        # The pods of OpenShift's DNS, which policies see behind the port of the service.
        (5353, "UDP", True),
        (443, "TCP", True),
        # API servers of kubeadm and kind, minikube, MicroK8s; MLflow's default.
        (6443, "TCP", True),
        (8443, "TCP", True),
        (16443, "TCP", True),
        (5000, "TCP", True),
        (22, "TCP", False),
        (443, "UDP", False),
    ],
)
def test_a_task_reaches_these_ports_of_anybody(kfp, port, protocol, allowed):
    policy = one(rendered(kfp, "kind"), "NetworkPolicy", "kfp-vision")
    to_anybody = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
    ports = [(each["port"], each["protocol"]) for rule in to_anybody for each in rule]
    assert ((port, protocol) in ports) == allowed


def test_a_quota_refuses_no_pod_of_the_server(installed):
    """Those ask for nothing: a quota of CPUs or memory would refuse them."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": driver_pod(NAMESPACE)["spec"],
    }
    del pod["spec"]["containers"][1]["resources"]
    answer = installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert answer.returncode == 0, answer.stderr


def test_the_queue_takes_what_the_tasks_ask_for(kfp, kueue, tmp_path):
    """A resource that the queue does not cover would leave a task waiting for ever."""
    objects = rendered(kfp, "kueue")
    queue = one(objects, "LocalQueue", "kfp-vision")
    profile = dataclasses.replace(read_profile("gke"), queue=queue["metadata"]["name"])
    pods = [executor_pod(task, NAMESPACE) for task in all_tasks(tmp_path, profile)]
    assert {pod["metadata"]["labels"][QUEUE_LABEL] for pod in pods} == {"kfp-vision"}
    (group,) = one(objects, "ClusterQueue", queue["spec"]["clusterQueue"])["spec"]["resourceGroups"]
    asked = {"ephemeral-storage"}
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for part in container.get("resources", {}).values():
                asked |= set(part)
    assert asked <= set(group["coveredResources"])
    cpu, gpu = (
        {each["name"]: each["nominalQuota"] for each in flavor["resources"]}
        for flavor in group["flavors"]
    )
    assert cpu["nvidia.com/gpu"] == 0
    assert gpu["nvidia.com/gpu"] > 0


def test_what_is_ours_can_be_removed_without_the_server(installed):
    """By the label, which nothing of KFP has."""
    stock = {(each["kind"], each["metadata"]["name"]) for each in stock_objects()}
    for each in rendered(installed, "kind"):
        labels = each["metadata"].get("labels", {})
        is_stock = (each["kind"], each["metadata"]["name"]) in stock
        assert (PART_LABEL.items() <= labels.items()) != is_stock
