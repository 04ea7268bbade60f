"""Near duplicates from 64-byte signatures, in time linear in the number of images.

A signature is the image as 8x8 area-averaged gray levels. Two images are near duplicates when their
signatures, each with its mean removed and divided by its standard deviation, differ little. Pairs
are found by locality-sensitive hashing (Datar et al., 2004) and every pair is then measured.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = [
    "NEAR_DUPLICATES_FILE",
    "SIGNATURE_BYTES",
    "held_out_copies",
    "image_signature",
    "join_copies",
    "near_duplicate_groups",
    "smallest_rows",
    "without_copies",
]

# Of the `dataset_info` artifact: int64 [N], see `near_duplicate_groups` and `join_copies`, over the
# images of all splits in the order of `DatasetInfo.splits`.
NEAR_DUPLICATES_FILE = "near_duplicates.npy"

_SIDE = 8
SIGNATURE_BYTES = _SIDE * _SIDE

# Two images are near duplicates when they differ by less than a fifth of what an image of this set
# and its nearest other image differ by. Photos are far apart and leave room for strong re-encoding;
# clothes on a white ground look alike and leave little. The card has the measurement.
_SHARE_OF_NEAREST = 0.2
# The median copy at JPEG quality 75 differs by less than the lower bound, in every set measured;
# no two different photos that we saw differ by less than the upper one.
_MIN_LIMIT, _MAX_LIMIT = 0.03, 0.12
_QUERIES, _REFERENCES = 1_000, 20_000
# Gray levels. The same cut in another colour is another picture; a small change of light is not.
_MAX_BRIGHTNESS_CHANGE = 24.0
_MAX_CONTRAST_RATIO = 1.25
# Gray levels. A flatter signature is rounding noise: it says nothing about what the image shows.
_MIN_CONTRAST = 2.0

# A pair at the limit falls into two cells of a projection with probability 0.8 / 8 = 0.1, so a
# table of 10 projections finds it with probability 0.35 and 12 tables with 0.994.
_TABLES, _PROJECTIONS, _CELLS_PER_LIMIT = 12, 10, 8.0
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
    shares: np.ndarray = np.clip(overlap, 0.0, None) * (_SIDE / length)
    return shares.astype(np.float32)


def image_signature(pixels: np.ndarray) -> bytes:
    """Returns the 64-byte signature of uint8 [height, width, channels] pixels, channels 1 or 3."""
    height, width, channels = pixels.shape
    rows = _area_weights(height) @ pixels.reshape(height, width * channels).astype(np.float32)
    gray = rows if channels == 1 else rows.reshape(_SIDE, width, channels) @ _LUMA
    thumbnail: np.ndarray = np.rint(gray @ _area_weights(width).T)
    return thumbnail.astype(np.uint8).tobytes()


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
    limit = _difference_limit(signatures, standard, rows)
    pairs = [np.empty((2, 0), np.int64)]
    for first, second in _candidate_pairs(standard, rows, limit):
        near = (
            (np.abs(mean[first] - mean[second]) <= _MAX_BRIGHTNESS_CHANGE)
            & (contrast[first] <= contrast[second] * _MAX_CONTRAST_RATIO)
            & (contrast[second] <= contrast[first] * _MAX_CONTRAST_RATIO)
            & (((standard[first] - standard[second]) ** 2).mean(axis=1) <= limit**2)
        )
        pairs.append(np.stack([first[near], second[near]]))
    return _connected(np.concatenate(pairs, axis=1), total)


def join_copies(groups: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Returns int64 [N]: the groups, joined where they share an image pixel for pixel.

    A signature tells nothing of a flat image, but its digest tells its exact copies.

    Args:
        groups: As of `near_duplicate_groups`.
        digests: SHA-256 of the pixels, 32 bytes each, [N].
    """
    _, first, copy = np.unique(digests, return_index=True, return_inverse=True)
    rows = np.arange(len(groups))
    edges = np.concatenate([np.stack([rows, groups]), np.stack([rows, first[copy]])], axis=1)
    return _connected(edges, len(groups))


def _connected(edges: np.ndarray, total: int) -> np.ndarray:
    """Returns int64 [N]: for each row the smallest one that edges, int64 [2, E], lead to."""
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), shape=(total, total))
    _, component = connected_components(graph, directed=False)
    return smallest_rows(component)


def smallest_rows(groups: np.ndarray) -> np.ndarray:
    """Returns int64 [N]: for each row the smallest one whose group has the same number, int [N]."""
    _, smallest, group = np.unique(groups, return_index=True, return_inverse=True)
    rows: np.ndarray = smallest[group]
    return rows


def _difference_limit(signatures: np.ndarray, standard: np.ndarray, rows: np.ndarray) -> float:
    """Returns the largest root-mean-square difference of standardised near duplicates."""
    # Sampled by content, so that the order of the images changes nothing.
    mixer = np.random.default_rng(0).integers(0, 2**32, SIGNATURE_BYTES, dtype=np.uint32)
    order = np.argsort((signatures[rows] * mixer).sum(axis=1, dtype=np.uint32), kind="stable")
    sample = standard[rows[order[:_REFERENCES]]]
    if len(sample) < 2:
        return _MIN_LIMIT
    queries = min(_QUERIES, len(sample))
    similarity = sample[:queries] @ sample.T / SIGNATURE_BYTES
    np.fill_diagonal(similarity, -1.0)
    nearest = np.sqrt(np.maximum(2.0 - 2.0 * similarity.max(axis=1), 0.0))
    different = nearest[nearest > _MIN_LIMIT]
    if not len(different):
        return _MIN_LIMIT
    return float(np.clip(_SHARE_OF_NEAREST * np.median(different), _MIN_LIMIT, _MAX_LIMIT))


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, total, _CHUNK))


def _candidate_pairs(
    standard: np.ndarray, rows: np.ndarray, limit: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields chunks of row pairs that share a bucket of a table; a pair can come more than once."""
    cell = limit * _CELLS_PER_LIMIT
    random = np.random.default_rng(0)  # Any directions do; these ones make the result repeatable.
    for _ in range(_TABLES):
        directions = random.normal(size=(SIGNATURE_BYTES, _PROJECTIONS + 1)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        offsets = random.uniform(0, cell, _PROJECTIONS).astype(np.float32)
        mixers = random.integers(1, 2**62, _PROJECTIONS, dtype=np.int64) * 2 + 1
        bucket, place = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        for chunk in _chunks(len(rows)):
            projected = standard[rows[chunk]] @ directions
            cells = np.floor((projected[:, :-1] + offsets) / cell).astype(np.int64)
            bucket[chunk] = (cells * mixers).sum(axis=1)
            place[chunk] = projected[:, -1]
        # Within a bucket the closest along one more direction are neighbours.
        order = np.lexsort((place, bucket))
        bucket, ordered = bucket[order], rows[order]
        for step in range(1, _WINDOW + 1):
            same = np.flatnonzero(bucket[step:] == bucket[:-step])
            for chunk in _chunks(len(same)):
                yield ordered[same[chunk]], ordered[same[chunk] + step]


def held_out_copies(
    groups: np.ndarray, splits: Mapping[str, int], judging: np.ndarray
) -> np.ndarray:
    """Returns which images without labels are near duplicates of held-out images.

    A model that has learned them would be judged by what it knows.

    Args:
        groups: Near duplicates share a number, int [N], over the splits in order.
        splits: Split -> number of images, in that order; without labels are those of `unlabeled`.
        judging: Which of the training images judge as validation images do, int.

    Returns:
        bool [U].
    """
    names = np.repeat(list(splits), list(splits.values()))
    held_out = np.isin(names, ("validation", "test"))
    held_out[np.flatnonzero(names == "train")[judging]] = True
    copies: np.ndarray = np.isin(groups[names == "unlabeled"], groups[held_out])
    return copies


def without_copies(
    groups: np.ndarray, splits: Mapping[str, int], known: np.ndarray, judging: np.ndarray
) -> np.ndarray:
    """Returns which training images judge that are no near duplicates of those that are learned.

    Args:
        groups: As of `held_out_copies`.
        splits: The same.
        known: Which of the training images are learned, int.
        judging: Which of them are to judge, int.
    """
    train = groups[np.repeat(list(splits), list(splits.values())) == "train"]
    return judging[~np.isin(train[judging], train[known])]
