"""A task of the pipeline on a cluster: image, resources, nodes, retries, secrets, security.

What Kubeflow Pipelines 2.17 sets by itself on every task: no privilege escalation, no capabilities
and the seccomp profile RuntimeDefault, for pod and container. What it cannot express: a request
for ephemeral storage, a read-only root file system, and the service account, which belongs to the
run.
"""

import dataclasses

from kfp import dsl, kubernetes

from kfp_vision.components.shared.runtime.container_images import image_name
from kfp_vision.pipelines.cluster.profile import Pool, Profile
from kfp_vision.pipelines.resources import BACK_OFF_FACTOR, BACK_OFF_S, Resources

__all__ = ["PART_LABEL", "QUEUE_LABEL", "SECRET_KEYS", "WORKSPACE", "place"]

# Of every pod of a task: what policies of the cluster select.
PART_LABEL = {"app.kubernetes.io/part-of": "kfp-vision"}
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
# Keys of the secret, which become environment variables of the same names; each may be missing.
SECRET_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "STORAGE_EMULATOR_HOST",
    *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"),
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_EXPERIMENT_NAME"),
)
# Where the volume of a profile is.
WORKSPACE = "/workspace"
_GOOGLE_FOLDER = "/var/run/secrets/kfp-vision"


def place(task: dsl.PipelineTask, profile: Profile) -> None:
    """Writes everything that the cluster has to know of a task into the task."""
    stage = task.component_spec.name.replace("-", "_")
    resources = profile.resources(stage)
    _set_resources(task, resources)
    gpu = profile.gpu if resources.image == "gpu" else None
    if gpu is not None:
        task.set_accelerator_type(gpu.resource).set_accelerator_limit(gpu.count)
    _choose_nodes(task, gpu or profile.cpu)
    digest = profile.digests.get(resources.image, "")
    task.set_container_image(image_name(resources.image, profile.registry, digest))
    # Not `run_as_user`: the image has a numeric user, and OpenShift gives each namespace its own.
    kubernetes.set_security_context(task, run_as_non_root=True)
    _give_access(task, profile)
    labels = PART_LABEL | ({QUEUE_LABEL: profile.queue} if profile.queue else {})
    for label, value in labels.items():
        kubernetes.add_pod_label(task, label, value)


def _give_access(task: dsl.PipelineTask, profile: Profile) -> None:
    if profile.image_pull_secret:
        kubernetes.set_image_pull_secrets(task, [profile.image_pull_secret])
    if profile.secret:
        names = {key: key for key in SECRET_KEYS}
        kubernetes.use_secret_as_env(task, profile.secret, names, optional=True)
    if profile.workspace:
        kubernetes.mount_pvc(task, profile.workspace, WORKSPACE)
    if profile.google_secret:
        kubernetes.use_secret_as_volume(task, profile.google_secret, _GOOGLE_FOLDER)
        task.set_env_variable("GOOGLE_APPLICATION_CREDENTIALS", f"{_GOOGLE_FOLDER}/key.json")


def _set_resources(task: dsl.PipelineTask, resources: Resources) -> None:
    memory = _mebibytes(resources.memory_gib)
    task.set_cpu_request(f"{resources.cpus:g}")
    task.set_memory_request(memory).set_memory_limit(memory)
    for name, folder, medium, size in (
        ("shm", "/dev/shm", "Memory", resources.shm_gib),
        ("scratch", "/tmp", None, resources.disk_gib),  # noqa: S108 - of the pod.
    ):
        kubernetes.empty_dir_mount(task, name, folder, medium, _mebibytes(size))
    kubernetes.set_timeout(task, round(resources.hours * 3600))
    # None is said too: what the file does not say is the number that the cluster gives to all.
    task.set_retry(
        resources.retries,
        backoff_duration=f"{BACK_OFF_S}s",
        backoff_factor=BACK_OFF_FACTOR,
        backoff_max_duration=f"{resources.retry_window_s}s",
    )


def _choose_nodes(task: dsl.PipelineTask, pool: Pool) -> None:
    for label, value in pool.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in pool.tolerations:
        fields = {name: value for name, value in dataclasses.asdict(toleration).items() if value}
        kubernetes.add_toleration(task, **fields)
    if pool.avoid_labels:
        absent = [{"key": label, "operator": "DoesNotExist"} for label in pool.avoid_labels]
        kubernetes.add_node_affinity(task, match_expressions=absent)


def _mebibytes(gib: float) -> str:
    return f"{round(gib * 1024)}Mi"
