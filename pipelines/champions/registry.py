"""Versions in a Kubeflow Model Registry: where their files lie, and where they come from.

The registry keeps what it is told; the files stay in the folder of champions.
"""

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfp_vision.components.shared.champions.store import (
    Lineage,
    fetch_version,
    read_champions,
    version_uri,
)

__all__ = ["lineage_properties", "model_artifact", "register_version"]

# In the order in which a server would serve them.
_FORMATS = {
    "model/model.onnx": "onnx",
    "model/saved_model": "saved_model",
    "model/model.keras": "keras",
    "model/model.tflite": "tflite",
    "model/model_int8.tflite": "tflite",
}
_REPORT = "report.json"
_PORTS = {"http": 80, "https": 443}


def register_version(uri: str, version: str, registry: str, name: str) -> str:
    """Writes a version to a registry, or brings it up to date; marks which one is the champion.

    Args:
        uri: The folder of champions.
        version: Name of the version; empty for the champion.
        registry: URL of the registry, http or https; https takes the token of the service account.
        name: Of the registered model.

    Returns:
        The name of the version.

    Raises:
        ValueError: There is no such version or no champion, it has no model that is right, or the
            URL is none.
        RuntimeError: The client is not installed, or the registry refuses.
    """
    address = urlsplit(registry)
    if address.scheme not in _PORTS or not address.hostname or "@" in address.netloc:
        raise ValueError(
            "The registry must be an http:// or https:// URL without a password: the token of "
            f"KF_PIPELINES_SA_TOKEN_PATH is sent. Received: {registry.rpartition('@')[2]!r}"
        )
    champion = read_champions(uri).champion
    version = version or champion
    if not version:
        raise ValueError(f"A version must be named, or be the champion. Received: none in {uri!r}")
    lineage, passed = _read_version(uri, version)
    place = version_uri(uri, version)
    properties, artifact = lineage_properties(lineage, place), model_artifact(passed, place)
    try:
        from model_registry import ModelRegistry
        from model_registry.exceptions import StoreError
        from mr_openapi.exceptions import OpenApiException
    except ImportError as error:
        raise RuntimeError(
            "The client of the registry must be installed: `pip install 'kfp-vision[registry]'`."
        ) from error
    try:
        with warnings.catch_warnings(action="ignore"):
            # That there is no token: a registry without TLS takes none.
            client = ModelRegistry(
                f"{address.scheme}://{address.hostname}",
                address.port or _PORTS[address.scheme],
                author="kfp-vision",
                is_secure=address.scheme == "https",
                log_level=logging.ERROR,
            )
        _register(client, lineage, name, artifact, properties)
        for each in client.get_model_versions(name):
            held = {**each.custom_properties, **(properties if each.name == version else {})}
            held["champion"] = each.name == champion
            if held != each.custom_properties:
                each.custom_properties = held
                client.update(each)
    # What its HTTP library raises is among the errors of the system.
    except (StoreError, OpenApiException, OSError) as error:
        raise RuntimeError(
            f"The registry must take the version. Received: {error}, from {registry!r}. Check its "
            "address and, over https, the token in KF_PIPELINES_SA_TOKEN_PATH."
        ) from error
    return version


def _register(
    client: Any,
    lineage: Lineage,
    name: str,
    artifact: tuple[str, str],
    properties: dict[str, Any],
) -> None:
    """Writes a version and its artifact; either may be there already, of a call that was killed."""
    uri, model_format = artifact
    kind = {"model_format_name": model_format, "model_format_version": "1"}
    is_there = client.get_registered_model(name) is not None
    held = client.get_model_version(name, lineage.version) if is_there else None
    if held is None:
        client.register_model(
            name,
            uri,
            version=lineage.version,
            version_description=lineage.comparison["sentence"],
            metadata=properties,
            **kind,
        )
    elif client.get_model_artifact(name, lineage.version) is None:
        # The client has no public call for an artifact alone.
        client.async_runner(client._register_model_artifact(held, name, uri, **kind))


def _read_version(uri: str, version: str) -> tuple[Lineage, set[str]]:
    """Returns where a version comes from, and which of its models have passed their check."""
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        lineage = fetch_version(uri, version, [_REPORT], Path(scratch))
        report = Path(scratch, _REPORT)
        exports = json.loads(report.read_bytes())["exports"] if report.exists() else []
    return lineage, {f"model/{each['path']}" for each in exports if each["passed"]}


def model_artifact(passed: Collection[str], place: str) -> tuple[str, str]:
    """Returns the URI of the model of a version that a server would take, and its format.

    Args:
        passed: Paths in the version of the models that predict what Keras does, by its report.
        place: URI of the version.

    Raises:
        ValueError: It has no such model.
    """
    for path, name in _FORMATS.items():
        if path in passed:
            return f"{place}/{path}", name
    raise ValueError(
        f"A version must have one of {', '.join(_FORMATS)} that has passed the check of its "
        f"export. Received: {place} without. Register another version."
    )


def lineage_properties(lineage: Lineage, place: str) -> dict[str, Any]:
    """Returns what a registry keeps of a version: flat, and finite numbers alone.

    Args:
        lineage: Of the version.
        place: URI of the version.
    """
    metrics = {name: score["value"] for name, score in lineage.metrics.items()}
    return {
        "champion_decision": lineage.comparison["decision"],
        "compared_with": lineage.comparison["champion"] or "none",
        "data_fingerprint": lineage.dataset["fingerprint"],
        "data_uri": lineage.dataset["uri"],
        "kfp_vision_version": lineage.kfp_vision_version,
        "output_uri": lineage.output_uri,
        "primary_metric": lineage.primary,
        "recipe_uri": f"{place}/recipe.json",
        "report_uri": f"{place}/report.html",
        **{f"metric_{name}": value for name, value in metrics.items() if math.isfinite(value)},
        **{f"sha256 {path}": record.sha256 for path, record in lineage.files.items()},
    }
