"""Versions in a Kubeflow Model Registry: a running one, where MODEL_REGISTRY_URL names it."""

import dataclasses
import json
import os
import urllib.request
import uuid
from urllib.parse import urlsplit

import pytest

from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    Lineage,
    add_version,
    promote,
    read_lineage,
)
from kfp_vision.pipelines.champions.registry import _read_version, model_artifact, register_version


@pytest.fixture
def uri(tmp_path):
    """A folder with two versions, the second of which is the champion."""
    folder, model = str(tmp_path / "champions"), tmp_path / "model"
    model.mkdir()
    for name in ("model.keras", "model.onnx"):
        (model / name).write_bytes(b"weights")
    report = tmp_path / "report.json"
    passed = {"model.keras": True, "model.onnx": True, "model.tflite": False}
    exports = [{"path": path, "passed": each} for path, each in passed.items()]
    report.write_text(json.dumps({"exports": exports}))
    for version, champion in (("v1", ""), ("v2", "v1")):
        score = {"value": 0.9, "ci95": [0.8, 0.95]}
        lineage = Lineage(
            *(version, "now", "1.0", "out", ImportFacts("photos", "", 0), ""),
            *({"fingerprint": "f" * 64, "uri": "photos"}, "accuracy", {"accuracy": score}),
            {"decision": "better", "champion": champion, "sentence": "It is better."},
            {},
        )
        add_version(folder, {"model": model, "report.json": report}, lineage)
        promote(folder, version, "test")
    return folder


@pytest.fixture(scope="module")
def registry() -> str:
    url = os.environ.get("MODEL_REGISTRY_URL", "")
    if not url:
        pytest.skip("no registry: MODEL_REGISTRY_URL names a Kubeflow Model Registry")
    pytest.importorskip("model_registry", reason="the extra `registry` is not installed")
    return url


def found(registry, kind):
    with urllib.request.urlopen(f"{registry}/api/model_registry/v1alpha3/{kind}") as answer:
        return json.load(answer)["items"]


def test_lineage_reaches_the_registry(uri, registry):
    name = f"photos-{uuid.uuid4().hex}"
    assert register_version(uri, "v1", registry, name) == "v1"
    assert register_version(uri, "", registry, name) == "v2"
    promote(uri, "v1", "test")
    assert register_version(uri, "", registry, name) == "v1"
    (model,) = (each for each in found(registry, "registered_models") if each["name"] == name)
    versions = {
        each["name"]: each["customProperties"]
        for each in found(registry, "model_versions")
        if each["registeredModelId"] == model["id"]
    }
    assert versions.keys() == {"v1", "v2"}
    flags = {version: held["champion"]["bool_value"] for version, held in versions.items()}
    assert flags == {"v1": True, "v2": False}
    assert versions["v2"]["data_fingerprint"]["string_value"] == "f" * 64
    assert versions["v2"]["metric_accuracy"]["double_value"] == 0.9
    assert len(versions["v2"]["sha256 model/model.onnx"]["string_value"]) == 64
    artifacts = {each["uri"] for each in found(registry, "model_artifacts")}
    assert {f"{uri}/versions/{version}/model/model.onnx" for version in versions} <= artifacts


def test_a_version_without_its_artifact_is_repaired(uri, registry):
    from model_registry import ModelRegistry

    name, address = f"photos-{uuid.uuid4().hex}", urlsplit(registry)
    client = ModelRegistry(
        f"http://{address.hostname}", address.port, author="test", is_secure=False
    )
    # As a call that is killed between the two leaves it.
    model = client.async_runner(client._register_model(name, owner="test"))
    client.async_runner(client._register_new_version(model, "v1", "test"))
    assert client.get_model_artifact(name, "v1") is None
    register_version(uri, "v1", registry, name)
    assert client.get_model_artifact(name, "v1").uri == f"{uri}/versions/v1/model/model.onnx"


@pytest.mark.parametrize(
    ("passed", "found"),
    [
        (["model/model.tflite"], ("versions/v1/model/model.tflite", "tflite")),
        (["model/model_int8.tflite", "report.html"], ("model_int8.tflite", "tflite")),
        (["model/saved_model"], ("versions/v1/model/saved_model", "saved_model")),
        (["model/model.keras", "model/model.onnx"], ("model/model.onnx", "onnx")),
    ],
)
def test_the_artifact_is_the_model_that_a_server_would_take(passed, found):
    artifact, model_format = model_artifact(passed, "champions/versions/v1")
    assert artifact.endswith(found[0])
    assert model_format == found[1]


def test_what_predicts_something_else_is_not_registered(tmp_path, uri):
    """In the order of the formats ONNX is the first: it must not be taken where it has failed."""
    report, model = tmp_path / "report.json", tmp_path / "model"
    lineage = read_lineage(uri, "v1")
    for version, formats in (("a", ("model.keras",)), ("b", ())):
        exports = [{"path": each.name, "passed": each.name in formats} for each in model.iterdir()]
        report.write_text(json.dumps({"exports": exports}))
        made = dataclasses.replace(lineage, version=version, files={})
        add_version(uri, {"model": model, "report.json": report}, made)
    _, passed = _read_version(uri, "a")
    assert model_artifact(passed, uri) == (f"{uri}/model/model.keras", "keras")
    with pytest.raises(ValueError, match="that has passed the check of its export"):
        register_version(uri, "b", "http://registry", "photos")


@pytest.mark.parametrize("url", ["registry:8080", "ftp://registry", "", "http://me:word@registry"])
def test_what_is_no_url_is_refused_without_its_password(uri, url):
    with pytest.raises(ValueError, match="must be an http") as refusal:
        register_version(uri, "", url, "photos")
    assert "word@" not in str(refusal.value)


def test_a_folder_without_a_champion_is_refused(tmp_path):
    with pytest.raises(ValueError, match="or be the champion"):
        register_version(str(tmp_path), "", "http://registry", "photos")


def test_who_does_not_answer_is_named(uri, registry, free_port):
    with pytest.raises(RuntimeError, match=r"must take the version.*127\.0\.0\.1"):
        register_version(uri, "", f"http://127.0.0.1:{free_port()}", "photos")
