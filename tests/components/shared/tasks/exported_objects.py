"""Files of a task of objects, written and read back."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kfp_vision.components.evaluation.formats import FORMATS, ExportSource
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.tasks.protocol import FLOAT_PART

__all__ = ["check_float_files", "write_int8_file"]

# Objects whose scores are nearer to each other may change their places in another runtime.
_APART = 1e-4


def check_float_files(
    task: Any, num_classes: int, folder: Path
) -> tuple[np.ndarray, dict[str, np.ndarray], ExportSource]:
    """Checks that every float32 file says what Keras does, with weights that find much.

    Args:
        task: Of objects.
        num_classes: C.
        folder: Is filled.

    Returns:
        Images uint8 [3, 36, 44, 3], what is found in them, and what other files are written from.
    """
    model = build_model("separable", task, (36, 44, 3), num_classes)
    random = np.random.default_rng(0)
    for name in model.output:
        kernel = model.get_layer(name).kernel
        kernel.assign(random.normal(0.0, 1.0, kernel.shape))
    images = random.integers(0, 256, (3, 36, 44, 3), np.uint8)
    expected = task.decode(model(images.astype(np.float32)))
    # Another process counts the names of operations from the start.
    model.save(folder / "trained.keras")
    keras.backend.clear_session()
    model = keras.saving.load_model(folder / "trained.keras")
    source = ExportSource(task.decoding_model(model, 1.0), images, folder / "saved_model")
    # What the last one is followed by is not known.
    scores = expected["scores"]
    falls = -np.diff(scores, axis=1, prepend=2.0, append=scores[:, -1:]) > _APART
    is_clear = falls[:, 1:] & falls[:, :-1]
    assert is_clear.sum() > 20
    for name in ("keras", "saved_model", "onnx", "tflite"):
        path = folder / FORMATS[name].path
        FORMATS[name].write(source, path)
        found = FORMATS[name].open(path)(images)
        assert set(found) == set(expected), name
        np.testing.assert_allclose(found["scores"], scores, atol=1e-4, err_msg=name)
        for key, values in expected.items():
            np.testing.assert_allclose(
                found[key][is_clear], values[is_clear], atol=1e-3, err_msg=f"{name} {key}"
            )
    return images, expected, source


def write_int8_file(source: ExportSource, folder: Path) -> Path:
    """Writes the int8 file, in which what finds objects is float32; returns its path."""
    path = folder / FORMATS["tflite_int8"].path
    FORMATS["tflite_int8"].write(source, path)
    tensors = Interpreter(str(path)).get_tensor_details()
    coarse = [each["name"] for each in tensors if each["dtype"] == np.int8]
    assert len(coarse) > 20
    assert not [name for name in coarse if FLOAT_PART in name]
    return path
