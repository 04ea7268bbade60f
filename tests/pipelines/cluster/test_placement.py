"""Both documents of the compiled pipeline, for every profile: who runs where, with what."""

import dataclasses
import re

import pytest
import yaml
from compiled_pipeline import Task, all_tasks, documents, tasks

from kfp_vision.pipelines.cluster.placement import PART_LABEL, QUEUE_LABEL, SECRET_KEYS, WORKSPACE
from kfp_vision.pipelines.cluster.profile import PROFILES, Profile, read_profile
from kfp_vision.pipelines.resources import RUN_HOURS, STAGES, TTL_HOURS

GPU_STAGES = {name for name, resources in STAGES.items() if resources.image == "gpu"}


@pytest.fixture(scope="module", params=PROFILES)
def placed(request, tmp_path_factory) -> tuple[Profile, list[Task]]:
    profile = read_profile(request.param)
    return profile, all_tasks(tmp_path_factory.mktemp(request.param), profile)


def test_the_table_has_every_stage_and_no_other(placed):
    assert {task.stage for task in placed[1]} == set(STAGES)


def test_every_task_asks_for_what_the_table_says(placed):
    profile, found = placed
    for task in found:
        wanted, got = profile.resources(task.stage), task.container["resources"]
        assert got["cpuRequest"] == pytest.approx(wanted.cpus)
        assert "cpuLimit" not in got
        memory = f"{wanted.memory_gib * 1024:.0f}Mi"
        assert got["resourceMemoryRequest"] == got["resourceMemoryLimit"] == memory


def test_every_task_has_shared_memory_and_scratch_of_a_limited_size(placed):
    profile, found = placed
    for task in found:
        wanted = profile.resources(task.stage)
        shm, scratch = task.kubernetes["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"]) == ("/dev/shm", "Memory")
        assert shm["sizeLimit"] == f"{round(wanted.shm_gib * 1024)}Mi"
        assert (scratch["mountPath"], scratch.get("medium")) == ("/tmp", None)
        assert scratch["sizeLimit"] == f"{wanted.disk_gib * 1024:.0f}Mi"


def test_no_task_runs_as_root(placed):
    assert all(each.kubernetes["securityContext"] == {"runAsNonRoot": True} for each in placed[1])


def test_every_task_ends_and_the_gates_alone_are_not_retried(placed):
    profile, found = placed
    for task in found:
        wanted = profile.resources(task.stage)
        assert int(task.kubernetes["activeDeadlineSeconds"]) == wanted.hours * 3600
        assert task.retry.get("maxRetryCount", 0) == wanted.retries
        assert (wanted.retries == 0) == (task.stage in ("check_profile", "check_model"))
        # A task without a policy has the number of the cluster, a gate too.
        assert task.retry


def test_the_last_attempt_may_take_its_full_time(placed):
    """Argo ends a task, running or not, when the time since its first start exceeds the window."""
    for task in placed[1]:
        window, pause = (
            int(task.retry[key].removesuffix("s"))
            for key in ("backoffMaxDuration", "backoffDuration")
        )
        retries, factor = task.retry.get("maxRetryCount", 0), task.retry["backoffFactor"]
        pauses = sum(pause * factor**retry for retry in range(retries))
        deadline = int(task.kubernetes["activeDeadlineSeconds"])
        assert window >= (retries + 1) * deadline + pauses
        # Argo reads the factor as an integer.
        assert factor == int(factor)


def test_accelerators_and_their_nodes_are_for_the_stages_that_train(placed):
    profile, found = placed
    for task in found:
        accelerator = task.container["resources"].get("accelerator")
        wants_gpu = profile.gpu is not None and task.stage in GPU_STAGES
        assert (accelerator is not None) == wants_gpu
        target = "gpu" if wants_gpu else "cpu"
        assert task.container["image"].startswith(f"kfp-vision/python-{target}:")
        selector = task.kubernetes.get("nodeSelector", {}).get("labels", {})
        tolerations = task.kubernetes.get("tolerations", [])
        if wants_gpu:
            assert accelerator["resourceType"] == profile.gpu.resource
            assert int(accelerator["resourceCount"]) == profile.gpu.count
            assert selector == profile.gpu.node_selector
            assert {each["key"] for each in tolerations} == {
                each.key for each in profile.gpu.tolerations
            }
        else:
            assert not tolerations


def test_no_other_stage_can_be_on_a_node_with_accelerators(placed):
    """Neither where the nodes are tainted nor where they are not."""
    profile, found = placed
    for task in found:
        if profile.gpu is not None and task.stage not in GPU_STAGES:
            (term,) = task.kubernetes["nodeAffinity"]
            absent = {each["key"] for each in term["matchExpressions"]}
            assert {each["operator"] for each in term["matchExpressions"]} == {"DoesNotExist"}
            assert absent & set(profile.gpu.node_selector)


def test_a_run_ends_and_is_forgotten(tmp_path):
    _, platform = documents(tmp_path, Profile())
    assert platform["pipelineConfig"] == {
        "activeDeadlineSeconds": RUN_HOURS * 3600,
        "resourceTtlOnCompletion": TTL_HOURS * 3600,
    }


def test_a_team_has_its_registry_queue_and_secrets(tmp_path):
    digest = "sha256:" + "0" * 64
    profile = dataclasses.replace(
        read_profile("gke"),
        registry="ghcr.io/team/",
        digests={"gpu": digest},
        image_pull_secret="registry",
        secret="bucket",
        google_secret="google",
        queue="vision",
        workspace="volume",
    )
    found = tasks(*documents(tmp_path, profile))
    images = {task.container["image"] for task in found}
    (by_digest,) = (image for image in images if "@" in image)
    assert by_digest == f"ghcr.io/team/kfp-vision/python-gpu@{digest}"
    (by_tag,) = images - {by_digest}
    assert re.fullmatch(r"ghcr\.io/team/kfp-vision/python-cpu:\S+", by_tag)
    for task in found:
        assert [each["secretName"] for each in task.kubernetes["imagePullSecret"]] == ["registry"]
        labels = task.kubernetes["podMetadata"]["labels"]
        assert labels == {**PART_LABEL, QUEUE_LABEL: "vision"}
        (secret,) = task.kubernetes["secretAsEnv"]
        assert secret["secretName"] == "bucket"
        assert {each["envVar"] for each in secret["keyToEnv"]} == set(SECRET_KEYS)
        (mount,) = task.kubernetes["pvcMount"]
        assert mount["mountPath"] == WORKSPACE
        assert mount["pvcNameParameter"]["runtimeValue"]["constant"] == "volume"
        (volume,) = task.kubernetes["secretAsVolume"]
        (variable,) = task.container["env"]
        assert volume["secretName"] == "google"
        assert variable["name"] == "GOOGLE_APPLICATION_CREDENTIALS"
        assert variable["value"] == f"{volume['mountPath']}/key.json"


def test_access_to_the_storage_is_no_parameter(tmp_path):
    pipeline, _ = documents(tmp_path, dataclasses.replace(Profile(), secret="storage-7"))
    text = yaml.safe_dump(pipeline)
    assert "storage-7" not in text
    assert not [key for key in SECRET_KEYS if key in text]
