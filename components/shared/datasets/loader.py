"""The loader: what is decoded stays in RAM or on disk, batches by a seeded true permutation.

Position in the data is one number, the step: batch `step` is a pure function of (seed, step), so a
resumed run sees what an uninterrupted one would have seen.

grain 0.2.18 resumes as exactly, but handles one image at a time in Python: 17 us of CPU an image
for a shuffled batch of 64 Fashion-MNIST images in RAM, where `BatchOrder` and one indexing take 0.2
us. It would also add 19 MiB of packages and 0.2 s to the start of every task.
"""

import math
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.store import iterate_images, open_split
from kfp_vision.components.shared.runtime.memory import available_memory_bytes
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.runtime.seeds import seed_word

__all__ = ["BatchOrder", "ImageSource", "images_per_batch", "prefetch"]

_T = TypeVar("_T")
# Of the memory that is free when the source is opened; the model and its gradients need the rest.
_RAM_FRACTION = 0.5
# Rows of a task at most: Pillow releases the GIL, one task an image would only pass messages.
_ROWS = 256
_THREADS = len(usable_cpus())
# Of a batch that is only looked at, images and pixels (not bytes): 512 images of 45 px, 20 of
# 224 px. Larger batches are slower on a CPU, and the first layers of large images need memory.
_BATCH_IMAGES, _BATCH_PIXELS = 512, 2**20


def fit_image(pixels: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """Returns uint8 [height, width, channels]: resized with antialiasing, gray or RGB.

    The whole image is kept and the aspect ratio is not: what is cropped away can hold the label.
    Large JPEG files are not decoded at half their size first (`Image.draft`): photographs of 430
    px then differ at 64 px by more than 7 of 255 in one pixel of a hundred.
    """
    if pixels.shape == (height, width, channels):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def images_per_batch(height: int, width: int) -> int:
    """Returns how many images of this size go through a model at once where that is free."""
    return max(1, min(_BATCH_IMAGES, _BATCH_PIXELS // (height * width)))


class ImageSource:
    """The images of one split at one size, by index.

    Attributes:
        table: Rows of the store, memory-mapped.
        paths: Paths of every image, relative to the data root.
        in_memory: Whether what is decoded stays in memory.
        num_decoded: Images decoded so far, with repetition; what the cache holds is not.
        images_per_batch: Images that go through a model at once where the caller may choose.
    """

    def __init__(
        self,
        dataset_dir: Path,
        split: str,
        size: tuple[int, int],
        channels: int,
        memory_budget_bytes: int | None = None,
        cache: ImageCache | None = None,
    ) -> None:
        """Opens a split; nothing is decoded yet.

        Args:
            dataset_dir: Folder of the dataset.
            split: As of `store.open_split`.
            size: (height, width) in pixels.
            channels: 1 or 3.
            memory_budget_bytes: What is decoded stays in memory where the whole split fits into
                it; None for half of the memory that is free and not promised to another source.
            cache: Keeps on disk what is decoded; None for what one pass over few images needs.
        """
        self.table = open_split(dataset_dir, split)
        self._shape = (*size, channels)
        self.images_per_batch = images_per_batch(*size)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        self.paths: list[str] = self.table["path"].to_pylist()
        if memory_budget_bytes is None:
            promised = sum(source._promised_bytes() for source in _SOURCES)
            memory_budget_bytes = int((available_memory_bytes() - promised) * _RAM_FRACTION)
        self.in_memory = len(self) * math.prod(self._shape) <= memory_budget_bytes
        self.num_decoded = 0
        self._cached = cache.open(self.table, self._shape) if cache else None
        # The system gives memory to pages that are written only.
        self._kept = np.empty((len(self), *self._shape), np.uint8) if self.in_memory else None
        self._is_kept, self._lock = np.zeros(len(self), bool), threading.Lock()
        _SOURCES.add(self)

    def __len__(self) -> int:
        """Returns the number of images."""
        return int(self.table.num_rows)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns uint8 [*indices.shape, height, width, channels]; loads what is not in memory."""
        if self._kept is None:
            images = np.empty((indices.size, *self._shape), np.uint8)
            self._load(indices.ravel(), images, np.arange(indices.size))
            return images.reshape(*indices.shape, *self._shape)
        self._keep(self._kept, indices)
        kept: np.ndarray = self._kept[indices]
        return kept

    def load_all(self) -> None:
        """Loads every image that is to stay in memory: what comes after is not slowed by it."""
        if self._kept is not None:
            self._keep(self._kept, np.arange(len(self)))

    def _keep(self, kept: np.ndarray, indices: np.ndarray) -> None:
        with self._lock:
            missing = np.unique(indices[~self._is_kept[indices]])
            self._load(missing, kept, missing)
            self._is_kept[missing] = True

    def _load(self, rows: np.ndarray, images: np.ndarray, places: np.ndarray) -> None:
        """Writes the images `rows` [N] to `images[places]`: from the cache, or decoded."""
        size = min(_ROWS, max(1, math.ceil(len(rows) / _THREADS)))

        def load_part(start: int) -> int:
            part, cached = slice(start, start + size), self._cached
            pairs = list(zip(rows[part], places[part], strict=True))
            if cached:
                pairs = [(row, at) for row, at in pairs if not cached.read(row, images[at])]
            pixels = iterate_images(self.table, (row for row, _ in pairs))
            for (row, at), each in zip(pairs, pixels, strict=True):
                images[at] = fit_image(each, *self._shape)
                if cached:
                    cached.write(row, images[at])
            return len(pairs)

        self.num_decoded += sum(self._pool.map(load_part, range(0, len(rows), size)))

    def _promised_bytes(self) -> int:
        """Returns the memory that what is not loaded yet will take."""
        if not self.in_memory:
            return 0
        return int((~self._is_kept).sum()) * math.prod(self._shape)


class BatchOrder:
    """Which images make up a batch: one permutation of the whole set per epoch, without an end.

    Batches are always full: one that crosses the end of an epoch goes on into the next.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        """Fixes the order for ever.

        Raises:
            ValueError: There is no image, or the batch is not positive.
        """
        if num_images < 1 or batch_size < 1:
            raise ValueError(
                "`num_images` and `batch_size` must be positive. "
                f"Received: num_images={num_images}, batch_size={batch_size}"
            )
        self._num_images, self._batch_size = num_images, batch_size
        # A longer seed would run into the number of the epoch.
        self._seed_word = seed_word(seed)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def indices(self, step: int, num_steps: int = 1) -> np.ndarray:
        """Returns the image indices of batches `step` ..., int64 [num_steps, batch_size]."""
        position, needed = step * self._batch_size, num_steps * self._batch_size
        parts = []
        while needed > 0:
            epoch, offset = divmod(position, self._num_images)
            if epoch != self._epoch:
                self._epoch = epoch
                generator = np.random.Generator(np.random.Philox([self._seed_word, epoch]))
                self._order = generator.permutation(self._num_images)
            part = self._order[offset : offset + needed]
            parts.append(part)
            position, needed = position + len(part), needed - len(part)
        return np.concatenate(parts).reshape(num_steps, self._batch_size)


# Live sources, whose memory is promised before it is taken.
_SOURCES: weakref.WeakSet[ImageSource] = weakref.WeakSet()


def prefetch(make: Callable[[Any], _T], inputs: Iterator[Any]) -> Iterator[_T]:
    """Yields `make(input)` for each input, the next one being made while the caller works."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = None
        for value in inputs:
            upcoming = pool.submit(make, value)
            if pending is not None:
                yield pending.result()
            pending = upcoming
        if pending is not None:
            yield pending.result()
