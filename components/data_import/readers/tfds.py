"""TensorFlow Datasets by name: `tfds:fashion_mnist`, `tfds:cifar10:3.0.2`."""

from collections.abc import Iterator
from typing import Any

from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Sample,
    require_classes,
)

__all__ = ["PREFIX", "read_tfds"]

PREFIX = "tfds:"


def read_tfds(uri: str) -> Listing:
    """Lists the images of a classification set of TFDS, downloading it on first use.

    Raises:
        ImportError: tensorflow-datasets is not installed.
        ValueError: There is no such set, or it has no image feature or class labels.
        ConnectionError: The set is not on this machine and cannot be downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"Sets of TFDS need the extra `tfds`: pip install 'kfp-vision[tfds]'. Received: {error}"
        ) from error
    name = uri.removeprefix(PREFIX)
    try:
        builder = tfds.builder(name)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise ValueError(f"`dataset_uri` must name a set of TFDS. Received: {name!r}") from error
    image_key, label_key, label_names = _features(builder.info.features, name, tfds)
    try:
        builder.download_and_prepare()
    except Exception as error:  # noqa: BLE001 - each downloader of TFDS has errors of its own.
        raise ConnectionError(
            f"Cannot download {name!r} of TFDS: {error}. Check the network, or prepare the set on "
            "a machine that has one and copy ~/tensorflow_datasets."
        ) from error
    splits = {entry: SPLIT_NAMES.get(entry.lower()) for entry in builder.info.splits}
    used = {entry: split for entry, split in splits.items() if split}
    notes = [
        f"Split {entry} of TFDS ({builder.info.splits[entry].num_examples} images) is not used."
        for entry in splits
        if entry not in used
    ]
    require_classes(label_names, uri)

    def samples() -> Iterator[Sample]:
        # Encoded images stay encoded: the store keeps them as they are.
        decoders = {image_key: tfds.decode.SkipDecoding()}
        for entry, split in used.items():
            rows = tfds.as_numpy(builder.as_dataset(split=entry, decoders=decoders))
            for number, row in enumerate(rows):
                indices = row[label_key].reshape(-1).tolist() if split != "unlabeled" else []
                labels = tuple(label_names[index] for index in indices if index >= 0)
                yield Sample(f"{entry}/{number}", labels, split, row[image_key])

    total = sum(builder.info.splits[entry].num_examples for entry in used)
    return Listing(samples(), total, notes)


def _features(features: Any, name: str, tfds: Any) -> tuple[str, str, list[str]]:
    """Returns the keys of the image and of the labels, and the class names."""
    images = [key for key, kind in features.items() if isinstance(kind, tfds.features.Image)]
    labels = [
        (key, label.names)
        for key, kind in features.items()
        for label in [getattr(kind, "feature", kind)]
        if isinstance(label, tfds.features.ClassLabel)
    ]
    preferred = sorted(labels, key=lambda pair: pair[0] not in ("label", "labels"))
    if not images or not preferred:
        raise ValueError(
            "A set of TFDS must have an image and a class label. "
            f"Received: {name!r} with {sorted(features)}"
        )
    return images[0], *preferred[0]
