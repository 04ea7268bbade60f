"""Features of the images of a split, computed once: what is in the cache is not decoded.

Shapes: N images, features float32 [N, F].
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.architectures.frozen_features import FrozenBackbone
from kfp_vision.components.shared.datasets.feature_cache import FeatureCache
from kfp_vision.components.shared.datasets.loader import ImageSource, prefetch
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["read_features"]

# Of a file of the cache: what a stopped run loses is at most this many, 21 MB of 1280 features.
_ROWS_PER_FILE = 4096


def read_features(
    backbone: FrozenBackbone,
    dataset_dir: Path,
    split: str,
    rows: np.ndarray,
    size: tuple[int, int],
    channels: int,
    cache_dir: Path | None,
) -> np.ndarray:
    """Returns the features of some images of a split, float32 [N, F].

    Args:
        backbone: The network.
        dataset_dir: Folder of the dataset.
        split: As of `store.open_split`.
        rows: Which images, int [N]; the caller bounds N, for the features are held in memory.
        size: (height, width) in pixels that images are resized to.
        channels: 1 or 3, those of the dataset.
        cache_dir: Keeps the features of every network, resolution and dataset; None keeps none.
    """
    # Nothing is kept: each image is decoded once.
    source = ImageSource(dataset_dir, split, size, channels, memory_budget_bytes=0)
    digests = source.table["sha256"].take(rows).to_pylist()
    keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    identity = hashlib.sha256(f"{backbone.digest} {size[0]}x{size[1]}".encode()).hexdigest()[:16]
    cache = FeatureCache(cache_dir, identity) if cache_dir else None
    features = np.zeros((len(keys), backbone.num_features), np.float32)
    is_known = cache.find(keys, features) if cache else np.zeros(len(keys), bool)
    # Images of equal pixels have one key, and are computed once.
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    missing = np.sort(first[~is_known[first]])
    with Progress(f"features {split}", len(missing), "images") as progress:
        for start in range(0, len(missing), _ROWS_PER_FILE):
            part = missing[start : start + _ROWS_PER_FILE]
            done = start
            for places, images in prefetch(
                lambda places: (places, source.take(rows[places])), _batches(part, source)
            ):
                features[places] = backbone(images)
                done += len(places)
                progress.update(done)
            if cache:
                cache.add(keys[part], features[part])
    spread: np.ndarray = features[first[same.ravel()]]
    return spread


def _batches(places: np.ndarray, source: ImageSource) -> Iterator[np.ndarray]:
    size = source.images_per_batch
    return (places[start : start + size] for start in range(0, len(places), size))
