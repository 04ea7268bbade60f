"""Two photographs for networks of ImageNet."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image


def load_photos(size: int) -> np.ndarray:
    """Returns float32 [2, size, size, 3]: the largest square of a palace and of a flower."""
    squares = []
    for file in ("china.jpg", "flower.jpg"):
        image = Image.fromarray(load_sample_image(file))
        left = (image.width - image.height) // 2
        square = image.crop((left, 0, left + image.height, image.height))
        squares.append(np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(squares).astype(np.float32)
