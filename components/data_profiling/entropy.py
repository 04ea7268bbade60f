"""Image entropy: how much there is in an image, and how much of it is about the label.

Images are uint8 [H, W, C]; all entropies are in bits.
"""

import io

import numpy as np
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from kfp_vision.components.data_profiling.balance import entropy_bits

__all__ = ["GrayStatistics", "compressed_bits", "thumbnail_label_bits"]

# Gray levels of a pixel of a patch: a few thousand images are enough to count 16^4 patches.
_PATCH_LEVELS = 16
# File signature 8, IHDR 25, head and checksum of one IDAT 12, IEND 12.
_PNG_FRAME_BYTES = 57


class GrayStatistics:
    """Counts of gray levels and of 2x2 patches, pooled over images."""

    def __init__(self) -> None:
        self.levels = np.zeros(256, np.int64)
        self._patches = np.zeros(_PATCH_LEVELS**4, np.int64)

    def add(self, pixels: np.ndarray) -> None:
        """Counts one image, uint8 [H, W, C]; its gray level is the mean of its channels."""
        gray = pixels[..., 0] if pixels.shape[2] == 1 else pixels.mean(axis=2).astype(np.uint8)
        self.levels += np.bincount(gray.ravel(), minlength=256)
        coarse = (gray // (256 // _PATCH_LEVELS)).astype(np.int64)
        left, right = coarse[:, :-1], coarse[:, 1:]
        pairs = left * _PATCH_LEVELS + right
        patches = pairs[:-1] * _PATCH_LEVELS**2 + pairs[1:]
        self._patches += np.bincount(patches.ravel(), minlength=len(self._patches))

    @property
    def intensity_bits(self) -> float:
        """Entropy of the gray level of a pixel, 0 to 8 bits."""
        return entropy_bits(self.levels)

    @property
    def patch_bits(self) -> float:
        """Entropy of a 2x2 patch at 16 gray levels, in bits a pixel, 0 to 4."""
        return entropy_bits(self._patches) / 4.0

    @property
    def redundancy(self) -> float:
        """The share of a pixel that its 2x2 patch already tells: 0 for white noise, 1 when flat."""
        single = entropy_bits(self.levels.reshape(_PATCH_LEVELS, -1).sum(axis=1))
        return 1.0 - self.patch_bits / single if single > 0 else 1.0


def compressed_bits(pixels: np.ndarray) -> int:
    """Returns the size of an image as lossless PNG, in bits, without the frame of the file."""
    image = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    return 8 * (len(file.getvalue()) - _PNG_FRAME_BYTES)


def thumbnail_label_bits(signatures: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Returns a lower bound of what an 8x8 gray thumbnail tells about the label, in bits.

    It is the label entropy minus the cross-entropy of a linear discriminant on images that it was
    not fitted to: I(X; Y) >= H(Y) - CE (Barber and Agakov, 2003). A value near the label entropy
    says that the task is easy, or that a shortcut gives the label away; near 0, that the classes
    differ in detail, colour or texture only.

    Args:
        signatures: uint8 [N, 64].
        labels: int [N], at least two classes with 8 images.
        seed: Of the division into a half to fit and a half to measure.
    """
    classes, counts = np.unique(labels, return_counts=True)
    keep = np.isin(labels, classes[counts >= 8])
    features, targets = signatures[keep].astype(np.float64), labels[keep]
    if len(np.unique(targets)) < 2:
        raise ValueError(f"Two classes must have 8 images. Received: {counts.tolist()}")
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]  # Alternate rows: stratified halves.
    fitted, measured = order[::2], order[1::2]
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    model.fit(features[fitted], targets[fitted])
    probabilities = model.predict_proba(features[measured])
    columns = np.searchsorted(model.classes_, targets[measured])
    told = np.maximum(probabilities[np.arange(len(measured)), columns], 1e-3)
    bound = entropy_bits(np.bincount(columns)) + float(np.log2(told).mean())
    return max(bound, 0.0)
