"""TensorFlow Datasets by name: `tfds:fashion_mnist`, `tfds:cifar10:3.0.2`."""

from collections.abc import Iterator
from typing import Any

from kfp_vision.components.data_import.classes import reject_label
from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Rejection,
    Sample,
    require_classes,
)

__all__ = ["PREFIX", "read_tfds"]

PREFIX = "tfds:"


def read_tfds(uri: str) -> Listing:
    """Lists the images of a classification set of TFDS.

    Raises:
        ImportError: tensorflow-datasets is not installed.
        ValueError: There is no such set, or it has no image feature or no class labels.
        ConnectionError: The set is not on this machine and cannot be downloaded.
    """
    builder = _prepare_builder(uri.removeprefix(PREFIX))
    import tensorflow_datasets as tfds

    info = builder.info
    image_key, label_key, label_names = _find_features(info.features, uri, tfds)
    require_classes(label_names, uri)
    used = {name: SPLIT_NAMES[name.lower()] for name in info.splits if name.lower() in SPLIT_NAMES}
    notes = [
        f"Split {name} of TFDS ({info.splits[name].num_examples} images) is not used."
        for name in info.splits
        if name not in used
    ]

    def samples() -> Iterator[Sample | Rejection]:
        # Encoded images stay encoded: the store keeps them as they are.
        decoders = {image_key: tfds.decode.SkipDecoding()}
        for name, split in used.items():
            rows = tfds.as_numpy(builder.as_dataset(split=name, decoders=decoders))
            for number, row in enumerate(rows):
                path, indices = f"{name}/{number}", row[label_key].reshape(-1).tolist()
                # TFDS writes -1 for the label of an image that has none.
                labels = tuple(label_names[index] for index in indices if index >= 0)
                if split == "unlabeled":
                    yield Sample(path, (), split, row[image_key])
                elif indices and not labels:
                    yield reject_label(path, str(indices[0]))
                else:
                    yield Sample(path, labels, split, row[image_key])

    total = sum(info.splits[name].num_examples for name in used)
    return Listing(samples(), total, notes, splits=frozenset(used.values()))


def _prepare_builder(name: str) -> Any:
    """Returns the builder of a set of TFDS, downloaded on first use."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"Sets of TFDS need the extra `tfds`: pip install 'kfp-vision[tfds]'. Received: {error}"
        ) from error
    try:
        builder = tfds.builder(name)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise ValueError(f"`dataset_uri` must name a set of TFDS. Received: {name!r}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # noqa: BLE001 - every downloader of TFDS has errors of its own.
        raise ConnectionError(
            f"Cannot download {name!r} of TFDS: {error}. Check the network, or prepare the set on "
            "a machine that has one and copy ~/tensorflow_datasets"
        ) from error
    return builder


def _find_features(features: Any, uri: str, tfds: Any) -> tuple[str, str, list[str]]:
    """Returns the keys of the image and of the labels, and the class names."""
    images = [key for key, kind in features.items() if isinstance(kind, tfds.features.Image)]
    labels = [
        (key, getattr(kind, "feature", kind))
        for key, kind in features.items()
        if isinstance(getattr(kind, "feature", kind), tfds.features.ClassLabel)
    ]
    labels.sort(key=lambda pair: pair[0] not in ("label", "labels"))
    if not images or not labels:
        raise ValueError(
            "A set of TFDS must have an image and a class label. "
            f"Received: {uri!r} with the features {sorted(features)}"
        )
    return images[0], labels[0][0], labels[0][1].names
