"""Profiles: what a file may say, and what is refused before a cluster sees it."""

import pytest

from kfp_vision.pipelines.cluster.profile import PROFILES, GpuPool, Toleration, read_profile
from kfp_vision.pipelines.resources import RUN_HOURS, STAGES, Resources


def written(tmp_path, text: str) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", PROFILES)
def test_each_is_read(name):
    profile = read_profile(name)
    assert (profile.gpu is None) == (name == "local")


def test_a_file_of_the_user_changes_single_stages(tmp_path):
    profile = read_profile(
        written(
            tmp_path,
            """
            cpu:
              avoid_labels: [pool]
            gpu:
              node_selector: {pool: gpu}
              tolerations: [{key: gpu, operator: Exists}]
            stages:
              train_model: {memory_gib: 48, retries: 9}
            """,
        )
    )
    assert profile.gpu == GpuPool({"pool": "gpu"}, [Toleration("gpu", "Exists")])
    changed = profile.resources("train_model")
    assert (changed.memory_gib, changed.retries, changed.image) == (48.0, 9, "gpu")
    assert profile.resources("evaluate_model") == STAGES["evaluate_model"]


def test_without_accelerators_every_stage_has_the_smaller_image(tmp_path):
    profile = read_profile(written(tmp_path, ""))
    assert {profile.resources(stage).image for stage in STAGES} == {"cpu"}


def test_two_runs_leave_a_small_machine_room_for_their_drivers():
    """A node of 2 CPUs; a driver asks for 0.1."""
    local = read_profile("local")
    assert 2 * (max(local.resources(stage).cpus for stage in STAGES) + 0.1) <= 2


def test_a_digest_may_come_from_the_file_and_its_registry_from_the_command_line(tmp_path):
    digest = f"sha256:{'0' * 64}"
    path = written(tmp_path, f"digests: {{cpu: '{digest}'}}")
    profile = read_profile(path, {"registry": "ghcr.io/team"})
    assert (profile.registry, profile.digests) == ("ghcr.io/team", {"cpu": digest})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpus: {}", r"In `profile`, field names .* 'gpus'.*gpu"),
        ("gpu: {}", "Tasks without accelerators must be kept off.*Name a label"),
        ("gpu: {counts: 2}", r"In `profile.gpu`, field names .*'counts'. Did you mean count"),
        ("gpu: {count: 0}", r"`count` must be at least 1"),
        ("gpu: {count: true}", r"`profile.gpu.count` must be of type int. Received: True"),
        ("gpu: {node_selector: {spot: true}}", r"`profile.gpu.node_selector.spot` .*quotes"),
        ("gpu: {tolerations: [{operator: Exists}]}", r"tolerations\[0\]` must have \['key'\]"),
        ("gpu: {tolerations: [{key: a, operator: In}]}", "Equal or Exists. Received: 'In'"),
        ("gpu: {tolerations: [{key: a, effect: Never}]}", "`effect` must be one of"),
        ("gpu: {tolerations: [{key: a, operator: Exists, value: b}]}", "`value` must be empty"),
        ("stages: {trian_model: {}}", "Stage names .*'trian_model'. Did you mean train_model"),
        ("stages: {train_model: {gpu: 1}}", "In `train_model`, field names"),
        ("stages: {train_model: {memory_gib: 0}}", "`memory_gib` must be positive"),
        ("stages: {train_model: {memory_gib: lots}}", "`train_model.memory_gib` must be of type"),
        ("stages: {train_model: {shm_gib: 12}}", "`shm_gib` must be below `memory_gib`"),
        ("stages: {train_model: {image: tpu}}", r"must be one of \['cpu', 'gpu'\]"),
        ("registry: a\ndigests: {cpu: latest}", "sha256: and 64 hex digits. Received: 'latest'"),
        (f"digests: {{cpu: 'sha256:{'0' * 64}'}}", "Only an image in a registry has a digest"),
        ("- gpu", "`profile` must be of type dict"),
        ("a: [", "A profile must be YAML"),
    ],
)
def test_what_no_cluster_can_use_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_profile(written(tmp_path, text))


def test_a_name_that_is_neither_a_profile_nor_a_file_is_refused():
    with pytest.raises(ValueError, match=r"one of \['aks', .* Received: 'gke2'"):
        read_profile("gke2")


def test_the_window_of_retries_holds_every_attempt():
    resources = Resources("cpu", 1, 2, 1, 1, retries=2, hours=3)
    assert resources.retry_window_s >= 3 * 3 * 3600 + 60 + 120


def test_the_command_says_what_is_wrong(kfp_vision_here, tmp_path):
    answer = kfp_vision_here("compile", tmp_path / "out.yaml", "--profile", "gek")
    assert answer.returncode == 2
    assert "Received: 'gek'" in answer.stderr
    assert not (tmp_path / "out.yaml").exists()


def test_a_run_may_take_as_long_as_the_retries_of_each_of_its_stages():
    assert max(each.retry_window_s for each in STAGES.values()) <= RUN_HOURS * 3600
