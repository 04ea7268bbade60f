"""A second kind of task, with nothing but a task and a reader: semantic segmentation, in short.

Shapes: targets `mask` uint8 [B, H, W] with 255 where nothing is known, outputs {"mask": [B, H, W,
C]} logits and {"stuff": [B, C]}, whether a class is in the image.
"""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf
from PIL import Image

from kfp_vision.components.data_import.samples import Listing, Rejection, Sample, Target
from kfp_vision.components.shared.augmentation.targets import cut_masks, moves, warp_masks
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.tasks import TaskFacts

FACTS = TaskFacts(
    f"{__name__}:SemanticSegmentation",
    ("mean_iou",),
    "Every class counts the same.",
    unweighted_reason="the mean over classes counts them the same.",
)
IGNORED = 255
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read_mask_folders(folder: Folder, name: str = "") -> Listing:
    """Lists `<split>/images/*`, each with `masks/*.png` of its name; ids in `classes.txt`."""
    classes = tuple(folder.read("classes.txt").decode().splitlines())
    paths = [
        (split, f"{source}/images/{file}")
        for source, split in _SPLITS.items()
        for file in sorted(folder.list_entries(f"{source}/images")[1])
    ]

    def samples() -> Iterator[Sample | Rejection]:
        for split, path in paths:
            yield Sample(path, (), split, folder, _MaskFile(folder, path, classes))

    return Listing(samples(), len(paths), [], task="semantic_segmentation", class_order=classes)


@dataclasses.dataclass(frozen=True)
class _MaskFile:
    """What reads the mask of one image."""

    folder: Folder
    path: str
    classes: Sequence[str]

    def __call__(self, height: int, width: int) -> Target | Rejection:
        source = self.path.replace("/images/", "/masks/").rsplit(".", 1)[0] + ".png"
        content = self.folder.read(source)
        mask = _decode(content)
        if mask.shape != (height, width):
            message = f"The mask is {mask.shape}, the image {(height, width)}."
            return Rejection(self.path, "mask_size", message)
        labels = tuple(self.classes[index] for index in np.unique(mask[mask != IGNORED]))
        return Target(labels, {"mask": content})


def _decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image, np.uint8)


class SemanticSegmentation:
    """A class for every pixel."""

    name = "semantic_segmentation"
    columns: Sequence[pa.Field] = (pa.field("mask", pa.binary()),)
    is_spatial = True

    def open_targets(self, table, size, num_classes):
        column = table["mask"]

        def read(rows):
            masks = np.empty((rows.size, *size), np.uint8)
            for place, row in enumerate(rows.ravel().tolist()):
                image = Image.open(io.BytesIO(column[row].as_py()))
                masks[place] = image.resize(size[::-1], Image.Resampling.NEAREST)
            return {"mask": masks.reshape(*rows.shape, *size)}

        return read

    def augment_targets(self, targets, augmented):
        masks = warp_masks(tf.cast(targets["mask"], tf.int32), moves(augmented), IGNORED)
        partners, weights, boxes = augmented.mixing
        own = {"mask": cut_masks(masks, partners, boxes)}
        return [(weights, own), (1.0 - weights, {"mask": tf.gather(masks, partners)})]

    def build_head(self, features, num_classes, dropout):
        fine, coarse = features[-2], features[-1]
        size = fine.shape[1:3]
        wide = keras.layers.Conv2D(num_classes, 1, name="coarse")(coarse)
        wide = keras.layers.Resizing(*size, name="to_fine")(wide)
        logits = keras.layers.Add()([wide, keras.layers.Conv2D(num_classes, 1, name="fine")(fine)])
        # Half the size of the images: the loss and `decode` see to the rest.
        pooled = keras.layers.GlobalAveragePooling2D()(coarse)
        stuff = keras.layers.Dense(num_classes, dtype="float32", name="stuff")(pooled)
        return {"mask": keras.layers.Activation("linear", dtype="float32")(logits), "stuff": stuff}

    def loss(self, targets, outputs, *, label_smoothing=0.0, class_weights=None):
        mask = tf.cast(targets["mask"], tf.int32)
        logits = tf.image.resize(outputs["mask"], mask.shape[1:])
        known = tf.cast(mask != IGNORED, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.minimum(mask, logits.shape[-1] - 1), logits
        )
        pixels = tf.reduce_sum(losses * known, [1, 2]) / tf.maximum(
            tf.reduce_sum(known, [1, 2]), 1.0
        )
        present = tf.reduce_max(tf.one_hot(mask, logits.shape[-1]), [1, 2])
        return pixels + tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(present, outputs["stuff"]), -1
        )

    def taught_loss(self, teacher, outputs, temperature):
        softened = (tf.nn.log_softmax(each["mask"] / temperature) for each in (teacher, outputs))
        log_t, log_s = softened
        pixels = tf.reduce_sum(tf.exp(log_t) * (log_t - log_s), -1)
        return temperature**2 * tf.reduce_mean(pixels, [1, 2])

    def initial_loss(self, targets, num_classes):
        return float(np.log(num_classes) + np.log(2))

    def frequency_loss(self, targets, class_weights):
        counts = np.bincount(targets["mask"].ravel(), minlength=256)[:IGNORED]
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    def calibrate(self, batches):
        return 1.0

    def decode(self, outputs, temperature=1.0):
        return {name: np.asarray(values) for name, values in outputs.items()}

    def decoding_model(self, model, temperature):
        outputs = dict(zip(("mask", "stuff"), model.outputs, strict=True))
        return keras.Model(model.inputs[0], outputs, name=model.name)

    def record(self, targets, predictions):
        """Returns intersection and union of each class in each image, int64 [B, C]."""
        logits, truth = predictions["mask"], np.asarray(targets["mask"])
        classes = np.arange(logits.shape[-1])
        predicted = np.asarray(tf.image.resize(logits, truth.shape[1:])).argmax(-1)
        known = (truth != IGNORED)[..., None]
        marked, there = (predicted[..., None] == classes) & known, truth[..., None] == classes
        return {
            "intersection": (marked & there).sum((1, 2)),
            "union": (marked | there).sum((1, 2)),
        }

    def metrics(self, records, counts):
        intersection, union = (records[name].T @ counts for name in ("intersection", "union"))
        with np.errstate(invalid="ignore"):
            return {"mean_iou": np.nanmean(intersection / union, axis=0)}

    def images_worth(self, metric, records):
        return float(len(records["union"]))

    def baselines(self, dataset_dir: Path, info: Any, primary: str, seed: int, feature_dir: Any):
        """Returns the records of the commonest class everywhere."""
        shape, num = (info.median_height, info.median_width, info.channels), len(info.classes)
        train, test = (
            open_labelled(dataset_dir, split, shape, self, num, 0) for split in ("train", "test")
        )
        counts = np.zeros(256, np.int64)
        for _, targets in train.batches():
            counts += np.bincount(targets["mask"].ravel(), minlength=256)
        constant = np.eye(num)[counts[:IGNORED].argmax()]
        masks = test.read_targets(np.arange(len(test)))
        logits = np.tile(constant, (len(test), 1, 1, 1)).astype(np.float32)
        return {"zero_rule": self.record(masks, {"mask": logits})}, []

    def explain(self, test, batches, temperature, classes, num_mistakes):
        parts = [self.record(targets, self.decode(outputs)) for targets, outputs in batches]
        shares = np.concatenate(
            [each["intersection"].sum(1) / each["union"].sum(1) for each in parts]
        )
        fields: dict[str, Any] = {
            "per_class": [],
            "confusion": [],
            "curves": {},
            "calibration": {},
            "mistakes": [],
        }
        return fields, pa.table({"path": test.source.paths, "iou": shares})
