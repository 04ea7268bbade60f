"""Which places of a run, or of predictions, must lie apart, on disks and in buckets."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.runtime.storage import is_remote, local_path
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key
from kfp_vision.pipelines.parameters import Parameters

__all__ = ["check_apart", "predictions_folder"]

_WRITTEN = {
    "output_uri": "The output",
    "champion_uri": "The champions",
    "checkpoint_uri": "The checkpoints",
}
_DATA = {"dataset_uri": "the dataset", "unlabeled_uri": "the images without labels"}
_FILES = {"recipe_uri": "The recipe", "architecture": "The model file"}
_OUTPUT = {"output_uri": "the output"}
_RULES = (
    (_WRITTEN, _DATA, "a later run would read its files as data. Choose a folder beside it."),
    (_FILES, _OUTPUT, "each run replaces what it starts from, and none continues. Copy it first."),
)
_COMPARED = {*_WRITTEN, *_DATA, *_FILES}
_PREDICTED = (
    (
        {"output": "The output"},
        {"images": "the images"},
        "a later call would read its files as images. Choose a folder beside it.",
    ),
    (
        {"images": "The images"},
        {"output": "the output"},
        "they could be replaced by what is written. Choose a folder beside them.",
    ),
)


def check_apart(parameters: Parameters) -> None:
    """Refuses what is written to the data of a run, and files of the user in its output.

    Args:
        parameters: Those of the user, or the arguments of a pipeline.

    Raises:
        ValueError: A place lies in another, or a URI of a bucket cannot be used.
    """
    uris = vars(parameters).copy()
    if not is_user_model(parameters.architecture):
        del uris["architecture"]
    _refuse({name: uri for name, uri in uris.items() if name in _COMPARED and uri}, _RULES)


def predictions_folder(output: str, images: Sequence[str]) -> Path:
    """Returns the folder into which predictions of images are written.

    Args:
        output: Of the user, on this machine.
        images: Files and folders.

    Raises:
        ValueError: It and the images lie in each other, or a URI cannot be used.
    """
    folder = local_path(output, "output")
    for each in images:
        _refuse({"output": output, "images": each}, _PREDICTED)
    return folder


def _refuse(
    uris: Mapping[str, str],
    rules: Sequence[tuple[Mapping[str, str], Mapping[str, str], str]],
) -> None:
    """Refuses places in others, by rules of (names of inner ones, of outer ones, reason)."""
    places = {name: _place(uri, name) for name, uri in uris.items()}
    for inner_names, outer_names, reason in rules:
        for inner, outer in itertools.product(inner_names, outer_names):
            if {inner, outer} <= places.keys() and places[inner].is_relative_to(places[outer]):
                raise ValueError(
                    f"{inner_names[inner]} must not lie in {outer_names[outer]}. Received: "
                    f"{outer}={uris[outer]}, {inner}={uris[inner]}: {reason}"
                )


def _place(uri: str, name: str) -> PurePath:
    """Returns what can be compared: without links on a disk, without the scheme in a bucket."""
    if not is_remote(uri):
        return local_path(uri, name).resolve()
    kind = "gs:" if uri.startswith("gs:") else "s3:"  # `minio:` is one of S3.
    return PurePosixPath(kind, *bucket_and_key(uri))
