"""Versions of the files behind the URIs of a run, for KFP's cache key."""

import uuid
from collections.abc import Callable

from kfp_vision.components.data_import.component import dataset_version, unlabeled_version
from kfp_vision.components.shared.recipe.document import fetch_recipe
from kfp_vision.components.shared.runtime.identity import architecture_digest, content_digest
from kfp_vision.pipelines.parameters import Parameters

__all__ = ["source_versions"]


def source_versions(parameters: Parameters) -> dict[str, str]:
    """Returns a version for each URI: only the stages that read it, and those after, run again.

    A version is empty without a URI, and a new one each time where it cannot be read.
    """
    recipe, links = parameters.recipe_uri, parameters.follow_links
    return {
        "dataset_version": _version(
            dataset_version, parameters.dataset_uri, parameters.dataset_format, links
        ),
        "unlabeled_version": _version(unlabeled_version, parameters.unlabeled_uri, links),
        "recipe_version": _version(content_digest, recipe),
        "architecture_version": _version(_architecture_version, parameters.architecture, recipe),
    }


def _architecture_version(architecture: str, recipe_uri: str) -> str:
    """Returns the digest of the model file of a run, which its recipe may name."""
    if architecture == "auto" and recipe_uri:
        setting = fetch_recipe(recipe_uri).get("model", "architecture")
        architecture = architecture if setting is None else setting.value
    return architecture_digest(architecture)


def _version(read: Callable[..., str], uri: str, *others: str | bool) -> str:
    if not uri:
        return ""
    try:
        return read(uri, *others)
    except Exception:  # noqa: BLE001 - the stage meets the same error and reports it.
        # A new version each time: never taken from the cache.
        return f"unknown {uuid.uuid4().hex}"
