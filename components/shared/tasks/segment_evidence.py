"""What explains the metrics of an instance segmentation: as of a detection, with masks drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.datasets.drawings import draw_segments, rgb_image
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.tasks.box_evidence import LEAST_KEPT, BoxEvidence
from kfp_vision.components.shared.tasks.protocol import Records
from kfp_vision.components.shared.tasks.segments import codes_of, paste_masks

__all__ = ["SegmentEvidence"]

_Codes = list[dict[str, Any]]


class SegmentEvidence(BoxEvidence):
    """Keeps the masks of what is drawn and named, as run-length codes."""

    def __init__(
        self, classes: Sequence[str], test: LabelledImages, num_shown: int, least_score: float
    ) -> None:
        """Knows nothing yet; arguments as of `BoxEvidence`."""
        super().__init__(classes, test, num_shown, least_score)
        # What is there and what was found in each image; the first of the latter are drawn.
        self._codes: list[tuple[_Codes, _Codes]] = []

    def add(
        self, targets: Mapping[str, Any], found: Mapping[str, np.ndarray], record: Records
    ) -> None:
        """Adds the next images: their targets, what was found in them and their records."""
        super().add(targets, found, record)
        held = {name: np.asarray(value) for name, value in targets.items()}
        for place, scores in enumerate(found["scores"]):
            # They are sorted: those that are named come first.
            shown = int((scores >= LEAST_KEPT).sum())
            boxes, masks = found["boxes"][place, :shown], found["masks"][place, :shown]
            sizes = held["input_size"][place], held["image_size"][place]
            truth = codes_of(held["codes"][place], held["code_bytes"][place], sizes[1])
            there = np.flatnonzero(held["box_classes"][place] >= 0)
            self._codes.append(([truth[each] for each in there], paste_masks(boxes, masks, *sizes)))

    def table(self) -> pa.Table:
        """Returns the columns of a detection, and `segments` as the store has them."""
        segments = [[code["counts"] for code in found] for _, found in self._codes]
        column = pa.array(segments, pa.list_(pa.binary()))
        return super().table().append_column("segments", column)

    def _draw(self, row: int, pixels: np.ndarray) -> tuple[Image.Image, Image.Image]:
        """Returns an image with what is there, and with what was found."""
        _, labels, _, found_labels = self._drawn[row]
        truth, found = self._codes[row]
        images = rgb_image(pixels), rgb_image(pixels)
        draw_segments(images[0], truth, labels)
        draw_segments(images[1], found[: len(found_labels)], found_labels)
        return images
