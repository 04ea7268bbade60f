"""What a task downloads and uploads: a KFP launcher copies its artifacts whole."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_vision.components.shared.datasets.train_sample import SAMPLE_IMAGES

__all__ = ["DataSet", "Transfer", "task_transfers"]

Document = Mapping[str, Any]

# Columns beside the image: digest, signature, label, sizes and path.
_ROW_BYTES = 160
# Records of the stages before, charts and thumbnails; tables of all images.
_JSON_BYTES, _FACT_BYTES = 500_000, 32
# Weights and two moments of the optimizer; Keras, SavedModel, ONNX, LiteRT and its quarter in int8.
_CHECKPOINT, _FORMATS = 3, 4.25


@dataclasses.dataclass(frozen=True)
class DataSet:
    """What the sizes of artifacts follow from.

    Attributes:
        splits: Split -> number of images.
        image_bytes: Mean size of an image in the store.
        model_bytes: Size of the weights.
        trial_images: Of training and validation images, those that trials learn or are scored by.
    """

    splits: Mapping[str, int]
    image_bytes: float
    model_bytes: float
    trial_images: int

    def artifact_bytes(self) -> dict[str, float]:
        """Returns artifact -> its size; those that are not named hold records and figures."""
        rows = sum(self.splits.values())
        row_bytes = self.image_bytes + _ROW_BYTES
        searched = self.splits["train"] + self.splits["validation"]
        return {
            **{name: self.splits.get(name, 0) * row_bytes for name in ("train", "validation")},
            **{name: self.splits.get(name, 0) * row_bytes for name in ("test", "unlabeled")},
            "dataset_info": rows * _FACT_BYTES,
            "trial_start": searched * _ROW_BYTES
            + self.trial_images * self.image_bytes
            + _CHECKPOINT * self.model_bytes,
            "model": self.model_bytes + _JSON_BYTES,
            # Of one network.
            "members": self.model_bytes + _JSON_BYTES,
            "train_sample": self.splits["train"] * _ROW_BYTES
            + min(self.splits["train"], SAMPLE_IMAGES) * self.image_bytes,
            # As many calibration images as the export draws do not count.
            "calibration": self.splits["train"] * _ROW_BYTES,
            "evaluation": self.model_bytes + self.splits["test"] * _FACT_BYTES + _JSON_BYTES,
            "exports": _FORMATS * self.model_bytes + _JSON_BYTES,
        }


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What one attempt of a task copies.

    Attributes:
        received, sent: Bytes of its input and of its output artifacts.
        artifacts: Names of the inputs.
    """

    received: float
    sent: float
    artifacts: tuple[str, ...]


def task_transfers(pipeline: Document, artifact_bytes: Mapping[str, float]) -> dict[str, Transfer]:
    """Returns stage -> what one task of it copies.

    Args:
        pipeline: The first document of the compiled pipeline.
        artifact_bytes: Artifact -> its size; one that is not named holds records and figures.
    """
    found = {}
    for stage, inputs, outputs in _tasks(pipeline, pipeline["root"]["dag"], {}):
        received, sent = (
            sum(artifact_bytes.get(name, _JSON_BYTES) for name in names)
            for names in (inputs, outputs)
        )
        found[stage] = Transfer(received, sent, tuple(inputs))
    return found


def _tasks(
    pipeline: Document, dag: Document, given: Mapping[str, str]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields stage, input and output artifacts of every task of a DAG and of its loops.

    Args:
        pipeline: The whole.
        dag: Whose tasks.
        given: Input of the DAG -> name of the artifact.
    """
    for task in dag["tasks"].values():
        component = pipeline["components"][task["componentRef"]["name"]]
        artifacts = {
            name: given.get(source["componentInputArtifact"], name)
            if "componentInputArtifact" in source
            else source["taskOutputArtifact"]["outputArtifactKey"].rpartition("-")[2]
            for name, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        if "dag" in component:
            yield from _tasks(pipeline, component["dag"], artifacts)
            continue
        outputs = component.get("outputDefinitions", {}).get("artifacts", {})
        stage = re.sub(r"-\d+$", "", component["executorLabel"].removeprefix("exec-"))
        files = [name for name, each in outputs.items() if "etrics" not in _schema(each)]
        yield stage.replace("-", "_"), list(artifacts.values()), files


def _schema(output: Document) -> str:
    # Metrics are kept by the server: their artifacts have no file.
    title: str = output["artifactType"]["schemaTitle"]
    return title
