"""The scheduler of Kubernetes puts every task of a compiled pipeline on the nodes of its pool.

The nodes are objects only, as a device plugin and a cloud would have registered them: labels,
taint, capacity. Nothing runs on them.
"""

import uuid

import pytest
from compiled_pipeline import all_tasks
from kfp_pods import executor_pod
from kubernetes import client, config
from waiting import wait_until

from kfp_vision.pipelines.cluster.profile import PROFILES, read_profile
from kfp_vision.pipelines.resources import STAGES

GPU_STAGES = {name for name, resources in STAGES.items() if resources.image == "gpu"}
WITH_GPU = [name for name in PROFILES if read_profile(name).gpu]
# The smallest machines of the clouds with an accelerator, and their like without.
GPU_MACHINE = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
CPU_MACHINE = {"cpu": "4", "memory": "16Gi"}
_DECIDED_S = 20


def node(name, capacity, labels, taint=None):
    amounts = {"pods": "110", "ephemeral-storage": "200Gi", **capacity}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [taint] if taint else []},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def taint_of(profile):
    """The taint of the pool: what the first toleration is for."""
    toleration = profile.gpu.tolerations[0]
    value = toleration.value or "present"
    return {"key": toleration.key, "value": value, "effect": toleration.effect}


class Pools:
    """The nodes of one test, and a namespace for its pods."""

    def __init__(self, plane):
        self._core = client.CoreV1Api(config.new_client_from_config(str(plane.kubeconfig)))
        self._namespace = f"pools-{uuid.uuid4().hex[:8]}"
        self._core.create_namespace({"metadata": {"name": self._namespace}})

    def add(self, *nodes):
        for each in nodes:
            self._core.create_node(each)
            # The server drops the status of what is created.
            status = {"status": each["status"]}
            self._core.patch_node_status(each["metadata"]["name"], status)

    def place(self, tasks):
        """Creates the pods; returns stage -> node, or the reason why there is none."""
        for task in tasks:
            pod = executor_pod(task, self._namespace)
            pod["metadata"]["annotations"] = {"stage": task.stage}
            self._core.create_namespaced_pod(self._namespace, pod)
        assert wait_until(lambda: all(self.answers().values()), _DECIDED_S), self.answers()
        return self.answers()

    def answers(self):
        pods = self._core.list_namespaced_pod(self._namespace).items
        return {pod.metadata.annotations["stage"]: answer_of(pod) for pod in pods}

    def remove(self):
        # No kubelet confirms that they have ended.
        self._core.delete_collection_namespaced_pod(self._namespace, grace_period_seconds=0)
        self._core.delete_collection_node()


def answer_of(pod):
    """The node of a pod, or why it has none; None while the scheduler has not looked at it."""
    if pod.spec.node_name:
        return pod.spec.node_name
    for condition in pod.status.conditions or []:
        if (condition.type, condition.status) == ("PodScheduled", "False"):
            return f"{condition.reason}: {condition.message}"
    return None


@pytest.fixture
def pools(plane):
    pools = Pools(plane)
    yield pools
    pools.remove()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Profile -> one task for each stage."""
    found = {}
    for name in PROFILES:
        tasks = all_tasks(tmp_path_factory.mktemp(name), read_profile(name))
        found[name] = {task.stage: task for task in tasks}
    return found


def gpu_nodes(profile, number, **changes):
    labels, taint = profile.gpu.node_selector, taint_of(profile)
    settings = {"capacity": GPU_MACHINE, "labels": labels, "taint": taint, **changes}
    return [node(f"gpu-{index}", **settings) for index in range(number)]


def cpu_nodes(number):
    return [node(f"cpu-{index}", CPU_MACHINE, {}) for index in range(number)]


@pytest.mark.parametrize("tainted", [True, False], ids=["tainted", "untainted"])
@pytest.mark.parametrize("name", WITH_GPU)
def test_stages_that_train_are_on_accelerators_and_no_other_is(pools, compiled, name, tainted):
    """With one machine of 4 CPUs and 16 GiB for each stage, so that each fits one."""
    profile = read_profile(name)
    changes = {} if tainted else {"taint": None}
    pools.add(*gpu_nodes(profile, len(GPU_STAGES), **changes))
    pools.add(*cpu_nodes(len(STAGES) - len(GPU_STAGES)))
    placed = pools.place(compiled[name].values())
    assert placed.keys() == STAGES.keys()
    for stage, place in placed.items():
        kind = "gpu" if stage in GPU_STAGES else "cpu"
        assert place.startswith(f"{kind}-"), f"{stage}: {place}"
    # A task has the accelerator for itself.
    assert len({placed[stage] for stage in GPU_STAGES}) == len(GPU_STAGES)


def test_a_machine_without_accelerators_has_room_for_every_stage(pools, compiled):
    """Of 4 CPUs and 16 GiB, as many as there are stages."""
    pools.add(*cpu_nodes(len(STAGES)))
    placed = pools.place(compiled["local"].values())
    assert placed.keys() == STAGES.keys()
    assert all(place.startswith("cpu-") for place in placed.values()), placed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (None, "didn't match Pod's node affinity/selector"),
        ({"capacity": CPU_MACHINE}, "Insufficient nvidia.com/gpu"),
        ({"taint": {"key": "team", "value": "other", "effect": "NoSchedule"}}, "untolerated taint"),
        ({"capacity": {**GPU_MACHINE, "memory": "8Gi"}}, "Insufficient memory"),
    ],
    ids=["no-pool", "no-device-plugin", "another-taint", "small-machine"],
)
def test_a_stage_that_cannot_be_placed_says_why(pools, compiled, changes, said):
    """In the condition that Kubernetes keeps on the pod, as soon as the scheduler has seen it."""
    profile = read_profile("gke")
    pools.add(*cpu_nodes(1), *([] if changes is None else gpu_nodes(profile, 1, **changes)))
    (why,) = pools.place([compiled["gke"]["train_model"]]).values()
    assert why.startswith("Unschedulable: 0/")
    assert said in why


def test_a_stage_is_placed_when_its_pool_has_grown(pools, compiled):
    """A pool that scales from zero: the pod waits, and nothing has to be started again."""
    profile, task = read_profile("gke"), compiled["gke"]["train_model"]
    pools.add(*cpu_nodes(1))
    assert pools.place([task])["train_model"].startswith("Unschedulable")
    pools.add(*gpu_nodes(profile, 1))
    assert wait_until(lambda: "gpu-0" in pools.answers().values(), _DECIDED_S)
