"""What a container sees: the inputs of the run, and nothing beside them."""

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.runtime.memory import available_memory_bytes
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.pipelines.local.container_settings import Limits, container_settings
from kfp_vision.pipelines.parameters import Parameters


def settings_of(tmp_path, limits=Limits(), **changes):  # noqa: B008
    given = {"dataset_uri": str(tmp_path), "output_uri": str(tmp_path.parent / "out"), **changes}
    return container_settings(Parameters(**given), limits, gpu=False)


@pytest.fixture(autouse=True)
def _no_home(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "STORAGE_", "SSL_", "REQUESTS_")):
            monkeypatch.delenv(name)


def test_a_local_run_sees_its_files_alone_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("TF_TOKEN_app_terraform_io", "planted")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    recipe, network = tmp_path / "elsewhere" / "recipe.json", tmp_path / "elsewhere" / "a.keras"
    recipe.parent.mkdir()
    recipe.touch()
    network.touch()
    table = tmp_path / "photos" / "labels.csv"
    table.parent.mkdir()
    table.touch()
    found = settings_of(
        tmp_path, dataset_uri=str(table), recipe_uri=str(recipe), architecture=str(network)
    )
    assert found.network == "none"
    assert found.inputs == {str(path): str(path) for path in (table.parent, recipe, network)}
    assert "OMP_NUM_THREADS" in found.variables
    assert not {"AWS_SECRET_ACCESS_KEY", "TF_TOKEN_app_terraform_io"} & set(found.variables)


def test_a_tracking_server_needs_a_network_and_no_keys_of_storage(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted")
    found = settings_of(tmp_path)
    assert found.network == "host"
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"} <= set(found.variables)
    assert "AWS_SECRET_ACCESS_KEY" not in found.variables
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    assert settings_of(tmp_path).network == "bridge"


def test_champions_are_written_where_they_are_or_over_a_network(tmp_path):
    assert settings_of(tmp_path).champions == ""
    local = settings_of(tmp_path, champion_uri=str(tmp_path / "a/../champions"))
    assert (local.champions, local.network) == (str(tmp_path / "champions"), "none")
    remote = settings_of(tmp_path, champion_uri="gs://bucket/champions")
    assert (remote.champions, remote.network) == ("", "bridge")


def test_an_archive_is_seen_alone_and_a_table_not_with_the_whole_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("digits.npz", "labels.csv"):
        (tmp_path / name).touch()
    found = settings_of(tmp_path, dataset_uri=str(tmp_path / "digits.npz"))
    assert found.inputs == {f"{tmp_path}/digits.npz": f"{tmp_path}/digits.npz"}
    with pytest.raises(ValueError, match=f"Received: a table in {tmp_path}. Move"):
        settings_of(tmp_path, dataset_uri=str(tmp_path / "labels.csv"))


def test_a_model_file_that_the_recipe_names_is_seen(tmp_path):
    recipe, network = tmp_path / "earlier" / "recipe.json", tmp_path / "own" / "a.keras"
    for path in (recipe, network):
        path.parent.mkdir()
        path.touch()
    (tmp_path / "photos").mkdir()
    write_recipe(
        Recipe().with_settings("model", {"architecture": Setting(str(network), "")}), recipe
    )
    found = settings_of(tmp_path, dataset_uri=f"{tmp_path}/photos", recipe_uri=str(recipe))
    assert str(network) in found.inputs


def test_no_value_of_a_variable_travels_as_an_argument(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    found = settings_of(tmp_path, dataset_uri="s3://photos")
    assert "AWS_SECRET_ACCESS_KEY" in found.variables
    assert "planted" not in json.dumps(dataclasses.asdict(found))


@pytest.mark.parametrize("folder", ["/", "/usr", "/usr/lib", "/etc", "/proc/self", "link"])
def test_no_system_folder_is_mounted_for_a_variable(tmp_path, monkeypatch, folder):
    (tmp_path / "link").symlink_to("/usr")
    own, file = tmp_path / "certificates", next(path for path in Path("/usr/bin").iterdir())
    own.mkdir()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / folder))
    monkeypatch.setenv("SSL_CERT_DIR", str(own))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    found = settings_of(tmp_path, dataset_uri="s3://photos")
    assert found.inputs.keys() == {str(own), str(file)}
    assert "CUDA_HOME" in found.variables


@pytest.mark.parametrize("name", ["dataset_uri", "unlabeled_uri", "output_uri", "champion_uri"])
@pytest.mark.parametrize("folder", ["/usr", "/etc", "/var/../etc", "/sys/kernel"])
def test_no_system_folder_is_mounted_for_a_run(tmp_path, name, folder):
    with pytest.raises(ValueError, match="system folders themselves. Received: /(usr|etc|var|sys)"):
        settings_of(tmp_path, **{name: folder})


def test_a_linked_dataset_is_seen_under_both_of_its_paths(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    found = settings_of(
        tmp_path, dataset_uri=f"{tmp_path}/real/../link", output_uri=str(tmp_path / "out")
    )
    assert found.inputs == {str(link): str(real), str(real): str(real)}


def test_a_bucket_needs_the_network_and_the_credentials_of_the_environment(tmp_path, monkeypatch):
    key = tmp_path / "key.json"
    key.touch()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    found = settings_of(tmp_path, dataset_uri="s3://photos/cats", architecture="separable")
    assert (found.network, found.inputs) == ("bridge", {str(key): str(key)})
    assert {"AWS_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS"} <= set(found.variables)


def test_a_store_on_this_machine_is_reached_through_its_own_network(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    assert settings_of(tmp_path, dataset_uri="s3://photos").network == "host"


def test_limits_are_those_of_the_user_or_of_this_process(tmp_path):
    found = settings_of(tmp_path, Limits(cpus=1, memory_gib=1.5))
    assert (found.cpus, found.memory_bytes) == (usable_cpus()[:1], 3 * 2**29)
    found = settings_of(tmp_path)
    assert found.cpus == usable_cpus()
    assert found.memory_bytes == pytest.approx(available_memory_bytes(), rel=0.5)


@pytest.mark.parametrize(
    "wrong",
    [{"cpus": 10_000}, {"cpus": -1}, *({"memory_gib": each} for each in (-1.0, 1e-12, math.inf))],
)
def test_limits_that_this_machine_does_not_have_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must .*Received: "):
        Limits(**wrong)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [({"follow_links": True}, "follow_links"), ({"dataset_uri": "tfds:mnist"}, "tensorflow-data")],
)
def test_what_a_container_cannot_read_is_refused_before_the_first_stage(tmp_path, changes, hint):
    with pytest.raises(ValueError, match=f"{hint}.*--runner subprocess"):
        settings_of(tmp_path, **changes)


def test_without_an_engine_the_run_ends_before_anything_is_written(
    kfp_vision_here, monkeypatch, tmp_path
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    output = tmp_path / "out"
    answer = kfp_vision_here(
        *("run", "--dataset-uri", tmp_path, "--output", output, "--runner", "docker")
    )
    assert answer.returncode == 2
    assert "needs a Docker engine that this user may use. Received: " in answer.stderr
    assert not output.exists()


def test_limits_without_containers_are_refused(kfp_vision_here, tmp_path):
    answer = kfp_vision_here("run", "--dataset-uri", tmp_path, "--cpus", 1)
    assert answer.returncode == 2
    assert "`cpus` and `memory_gib` limit containers. Received: " in answer.stderr
