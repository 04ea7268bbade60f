"""Near duplicates from 64-byte signatures, in time linear in the number of images.

A signature is the image as 8x8 area-averaged gray levels. Two images are near duplicates when their
signatures, each with its mean removed and divided by its standard deviation, differ little. Pairs
are found by locality-sensitive hashing (Datar et al., 2004) and every pair is then measured.
"""

import functools
from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["SIGNATURE_BYTES", "image_signature", "near_duplicate_groups"]

_SIDE = 8
SIGNATURE_BYTES = _SIDE * _SIDE

# Largest root-mean-square difference of two standardised signatures. Re-encoding at JPEG quality 75
# and resizing stay below it, different Fashion-MNIST clothes above it (the card has the figures).
_MAX_DIFFERENCE = 0.05
# Gray levels. The same cut in another colour is another picture; a small change of light is not.
_MAX_BRIGHTNESS_CHANGE = 24.0
_MAX_CONTRAST_RATIO = 1.25
# Gray levels. A flatter signature is rounding noise: it says nothing about what the image shows.
_MIN_CONTRAST = 2.0

# A projection of a pair at the largest difference falls into two cells with probability
# 0.8 * 0.05 / 0.4 = 0.1, so 12 tables of 8 projections find it with probability 0.999.
_TABLES, _PROJECTIONS, _CELL = 12, 8, 0.4
# Partners compared within a bucket: bounds the work on buckets that are full of look-alikes.
_WINDOW = 4
_CHUNK = 2**16

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow converts to gray.


@functools.lru_cache(maxsize=1024)
def _area_weights(length: int) -> np.ndarray:
    """Returns float32 [8, length]: the share of each pixel in each of 8 equal intervals."""
    edges = np.arange(_SIDE + 1)[:, None] * (length / _SIDE)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.clip(overlap, 0.0, None) * (_SIDE / length)).astype(np.float32)


def image_signature(pixels: np.ndarray) -> bytes:
    """Returns the 64-byte signature of uint8 [height, width, channels] pixels, channels 1 or 3."""
    height, width, channels = pixels.shape
    rows = _area_weights(height) @ pixels.reshape(height, width * channels).astype(np.float32)
    gray = rows if channels == 1 else rows.reshape(_SIDE, width, channels) @ _LUMA
    return np.rint(gray @ _area_weights(width).T).astype(np.uint8).tobytes()


def near_duplicate_groups(signatures: np.ndarray) -> np.ndarray:
    """Returns int64 [N]: for each image the smallest row of its group of near duplicates.

    An image without near duplicates is its own group, and so is a flat (nearly constant) one: flat
    images look alike whatever they show. Near duplicates of near duplicates are in one group.

    Args:
        signatures: uint8 [N, 64], rows as `image_signature` returns them.
    """
    if signatures.ndim != 2 or signatures.shape[1] != SIGNATURE_BYTES:
        raise ValueError(
            f"`signatures` must be uint8 [N, {SIGNATURE_BYTES}]. Received: {signatures.shape}"
        )
    total = len(signatures)
    mean, contrast = signatures.mean(axis=1, dtype=np.float32), np.empty(total, np.float32)
    standard = np.empty(signatures.shape, np.float32)
    for chunk in _chunks(total):
        centred = signatures[chunk] - mean[chunk, None]
        contrast[chunk] = centred.std(axis=1)
        standard[chunk] = centred / np.maximum(contrast[chunk, None], _MIN_CONTRAST)
    rows = np.flatnonzero(contrast >= _MIN_CONTRAST)
    left, right = [], []
    for first, second in _candidate_pairs(standard, rows):
        near = (
            (np.abs(mean[first] - mean[second]) <= _MAX_BRIGHTNESS_CHANGE)
            & (contrast[first] <= contrast[second] * _MAX_CONTRAST_RATIO)
            & (contrast[second] <= contrast[first] * _MAX_CONTRAST_RATIO)
        )
        first, second = first[near], second[near]
        near = ((standard[first] - standard[second]) ** 2).mean(axis=1) <= _MAX_DIFFERENCE**2
        left.append(first[near])
        right.append(second[near])
    if not left:
        return np.arange(total)
    edges = (np.concatenate(left), np.concatenate(right))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(total, total))
    _, component = connected_components(graph, directed=False)
    _, smallest, group = np.unique(component, return_index=True, return_inverse=True)
    return smallest[group]


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, total, _CHUNK))


def _candidate_pairs(
    standard: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields chunks of row pairs that share a bucket of a table; a pair can come more than once."""
    random = np.random.default_rng(0)  # Any directions do; these ones make the result repeatable.
    for _ in range(_TABLES):
        directions = random.normal(size=(SIGNATURE_BYTES, _PROJECTIONS + 1)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        offsets = random.uniform(0, _CELL, _PROJECTIONS).astype(np.float32)
        mixers = random.integers(1, 2**62, _PROJECTIONS, dtype=np.int64) * 2 + 1
        bucket, place = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        for chunk in _chunks(len(rows)):
            projected = standard[rows[chunk]] @ directions
            cells = np.floor((projected[:, :-1] + offsets) / _CELL).astype(np.int64)
            bucket[chunk] = (cells * mixers).sum(axis=1)
            place[chunk] = projected[:, -1]
        # Within a bucket the closest along one more direction are neighbours.
        order = np.lexsort((place, bucket))
        bucket, ordered = bucket[order], rows[order]
        for step in range(1, _WINDOW + 1):
            same = np.flatnonzero(bucket[step:] == bucket[:-step])
            for chunk in _chunks(len(same)):
                yield ordered[same[chunk]], ordered[same[chunk] + step]
