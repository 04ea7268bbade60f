"""What a task is: targets that travel with the image, a head, a loss, predictions and metrics.

Shapes: N images of a set, B of a batch, C classes, R bootstrap resamples. Targets and records are
dicts of arrays whose first axis is the image; outputs and predictions are an array or a dict of
them: the loader, the training loop and the evaluation never look inside.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kfp_vision.components.shared.tasks.differences import Difference

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

    from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
    from kfp_vision.components.shared.augmentation.augment import Augmented
    from kfp_vision.components.shared.datasets.labelled import LabelledImages

__all__ = ["FLOAT_PART", "Outputs", "ReadTargets", "Records", "Targets", "Task", "TeachableTask"]

Targets = Mapping[str, Any]
# Rows of a split, int [*S] -> their targets {name: [*S, ...]}.
ReadTargets = Callable[[np.ndarray], dict[str, np.ndarray]]
# What a network returns for a batch: an array or {name: array}.
Outputs = Any
# What is kept of each image, [N, ...]: enough for every metric and every resample of the images.
Records = dict[str, np.ndarray]

# Of the layer that stays in float32 where a network becomes int8.
FLOAT_PART = "in_float"


class Task(Protocol):
    """Everything in which tasks differ."""

    name: str
    # Whether targets lie in the image and move with its pixels, as masks, boxes and keypoints do.
    is_spatial: bool
    # Of `label_smoothing`, `mixup`, `cutmix` and `mosaic`, what is defined for its targets.
    techniques: frozenset[str]

    def open_targets(
        self, table: "pa.Table", size: tuple[int, int], num_classes: int
    ) -> ReadTargets:
        """Returns what makes the targets of a batch from the columns of the store.

        Args:
            table: Rows of a split; `height` and `width` are those of the image as it is stored.
            size: (height, width) that the images are resized to.
            num_classes: C.
        """
        ...

    def open_truth(self, table: "pa.Table", size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what makes the targets by which a model is judged; arguments of `open_targets`.

        They hold those of `open_targets`, and what `record` and `explain` need to judge at the size
        of the image, whatever the size of the input.
        """
        ...

    def augment_targets(
        self, targets: Targets, augmented: "Augmented"
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns targets of augmented images and the share [B] of each in the loss.

        Runs within the compiled step, as tensors.
        """
        ...

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Outputs:
        """Returns the raw outputs of the task on feature maps [B, h, w, F], finest first.

        Spatial tasks are given one of each size, the others the last one alone.
        """
        ...

    def loss(
        self,
        targets: Targets,
        outputs: Outputs,
        *,
        label_smoothing: float = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the loss of each image, [B], in nats."""
        ...

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the mean loss in nats of a model that knows nothing: all outputs zero."""
        ...

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the mean loss in nats of a model that knows how frequent each class is, alone."""
        ...

    def calibrate(self, batches: Iterable[tuple[Targets, Outputs]]) -> float:
        """Returns the temperature of `decode`, from the validation images; 1 for none."""
        ...

    def decode(self, outputs: Outputs, temperature: float = 1.0) -> Any:
        """Returns the predictions of a batch as an exported model returns them, as arrays."""
        ...

    def new_difference(self) -> Difference:
        """Returns what measures how far predictions are from those of another runtime."""
        ...

    def decoding_model(self, model: "keras.Model", temperature: float) -> "keras.Model":
        """Returns the model with `decode` inside it, in layers of Keras, and named outputs.

        What int8 is too coarse for, as places in the image, is in a model within it that is called
        `FLOAT_PART`.
        """
        ...

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns what the metrics need to know of each image of a batch."""
        ...

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the metrics [R] of R resamples, in which image n is counts[n, r] times.

        They are NaN where a resample leaves them undefined.
        """
        ...

    def least_score(self, records: Records) -> float | None:
        """Returns the score from which on objects are named; None where nothing has a score.

        Args:
            records: Of the validation images.
        """
        ...

    def images_worth(self, metric: str, records: Records) -> float:
        """Returns how many images measure a metric: fewer than N where classes count the same."""
        ...

    def baselines(
        self,
        dataset_dir: Path,
        info: "DatasetInfo",
        primary: str,
        seed: int,
        feature_dir: Path | None,
    ) -> tuple[dict[str, Records], list[str]]:
        """Returns name -> records of the test images, of rules that train no network; omissions.

        One is called `zero_rule`: it knows how frequent the classes are, alone. Records of a part
        of the test images have `row`, int [M]: which they are. Each omission is a sentence
        that says why.

        Args:
            dataset_dir: Folder of the dataset.
            info: Of the dataset.
            primary: The metric that decides.
            seed: Of the images that baselines are fitted on.
            feature_dir: Keeps the features of frozen networks; None keeps none.
        """
        ...

    def explain(
        self,
        test: "LabelledImages",
        batches: Iterable[tuple[Targets, Outputs]],
        temperature: float,
        classes: Sequence[str],
        num_mistakes: int,
        least_score: float | None,
    ) -> tuple[dict[str, Any], "pa.Table"]:
        """Returns the fields of `Evaluation` that explain the metrics, and a row an image.

        Args:
            test: The test images.
            batches: Their targets and outputs, in order; may be iterated several times.
            temperature: Of `decode`.
            classes: Their names.
            num_mistakes: How many to show.
            least_score: What `least_score` returned.
        """
        ...


class TeachableTask(Task, Protocol):
    """A task that a student can learn from the outputs of a teacher: of labels of whole images."""

    def taught_loss(self, teacher: Outputs, outputs: Outputs, temperature: float) -> Any:
        """Returns the divergence of each image from what a teacher says of it, [B], in nats.

        Times the square of the temperature: so its gradients do not shrink as that rises (Hinton et
        al., 2015, arXiv:1503.02531, section 2.1).

        Args:
            teacher: Its raw outputs.
            outputs: Those of the student.
            temperature: Both are divided by it.
        """
        ...
