"""The champion as it was published, for the classes of another run; B images, C classes.

Its files come from a folder that others may write to: Keras' safe mode, or ONNX, which runs no code
of a file.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.evaluation.runtimes import open_keras, open_onnx
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.runtime.disk import is_disk_full
from kfp_vision.components.shared.tasks import TASKS, Outputs
from kfp_vision.components.shared.training.inference import Infer

__all__ = ["CARD_FILE", "CHAMPION_FILES", "map_classes", "open_champion"]

CARD_FILE = "model/model.json"
_RUNTIMES = {"model/model.keras": open_keras, "model/model.onnx": open_onnx}
CHAMPION_FILES = (CARD_FILE, *_RUNTIMES)


def open_champion(folder: Path) -> tuple[ModelCard, Infer]:
    """Returns the card and the model: uint8 [B, H, W, K] -> predictions of its task.

    Args:
        folder: Holds those of `CHAMPION_FILES` that the version has.

    Raises:
        ValueError: No file can be opened, or none predicts an image.
    """
    if not (folder / CARD_FILE).exists():
        raise ValueError(f"A champion must have {CARD_FILE}. Received: a version without it.")
    card = read_json(ModelCard, folder / CARD_FILE)
    reasons = []
    for name, open_file in _RUNTIMES.items():
        if not (folder / name).exists():
            continue
        if reason := card.failed.get(Path(name).name):
            reasons.append(f"{name}, which failed the check of its export: {reason}")
            continue
        try:
            infer = open_file(folder / name)
            found = infer(np.zeros((1, *card.image_size, card.channels), np.uint8))
        # Runtimes raise what they like; another format may do.
        except Exception as error:
            if is_disk_full(error):
                raise
            traceback.print_exc()
            reasons.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
            continue
        if isinstance(found, dict) or found.shape == _shape(card):
            return card, infer
        reasons.append(f"{name}: predictions {found.shape} for {len(card.classes)} classes")
    raise ValueError(
        f"A champion must have a model that can be opened. Received: {'; '.join(reasons) or 'none'}"
    )


def _shape(card: ModelCard) -> tuple[int, ...]:
    """Returns that of the probabilities of one image, or of each of its pixels."""
    places = card.image_size if TASKS[card.task].is_spatial else []
    return (1, *places, len(card.classes))


def map_classes(predictions: Outputs, theirs: Sequence[str], ours: Sequence[str]) -> Outputs:
    """Returns predictions of our classes from those of theirs, by name.

    Of probabilities [B, ..., C] a class that they do not know has 0; what they give to a class that
    we do not know is left out, and the others are not raised for it. Of detections those of a class
    that we do not know are of none, -1.
    """
    if isinstance(predictions, dict):
        known = {name: index for index, name in enumerate(ours)}
        numbers = np.array([known.get(name, -1) for name in theirs])
        return {**predictions, "classes": numbers[np.asarray(predictions["classes"], int)]}
    probabilities, place = predictions, {name: index for index, name in enumerate(theirs)}
    mapped = np.zeros((*probabilities.shape[:-1], len(ours)), probabilities.dtype)
    for index, name in enumerate(ours):
        if name in place:
            mapped[..., index] = probabilities[..., place[name]]
    return mapped
