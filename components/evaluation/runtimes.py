"""Runtimes: each exported format opened by its own library, as a function of uint8 images.

Shapes: images uint8 [B, H, W, K] -> predictions of the task, an array or {name: array}, [B, ...].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.tasks import Outputs
from kfp_vision.components.shared.training.inference import Infer, compile_inference

__all__ = ["open_keras", "open_onnx", "open_saved_model", "open_tflite"]


def open_keras(path: Path) -> Infer:
    """Opens a `.keras` file."""
    return compile_inference(keras.models.load_model(path, compile=False, safe_mode=True))


def open_saved_model(path: Path) -> Infer:
    """Opens a SavedModel folder."""
    # The variables live as long as the loaded object; its function alone does not keep them.
    loaded = tf.saved_model.load(str(path))
    return lambda images: _said(loaded.serve(images.astype(np.float32)))


def open_onnx(path: Path) -> Infer:
    """Opens an ONNX file in ONNX Runtime, on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(images: np.ndarray) -> Outputs:
        outputs = session.run(names, {"pixels": images.astype(np.float32)})
        return _said(dict(zip(names, outputs, strict=True)))

    return infer


def open_tflite(path: Path) -> Infer:
    """Opens a LiteRT file; its pixels are uint8 as they are where it is quantised."""
    interpreter = Interpreter(str(path), num_threads=len(usable_cpus()))
    image = interpreter.get_input_details()[0]
    outputs = {
        name: each["index"]
        for name, each in interpreter.get_signature_runner().get_output_details().items()
    }
    batch_size = 0

    def infer(images: np.ndarray) -> Outputs:
        nonlocal batch_size
        if len(images) != batch_size:
            interpreter.resize_tensor_input(image["index"], images.shape, strict=True)
            interpreter.allocate_tensors()
            batch_size = len(images)
        interpreter.set_tensor(image["index"], images.astype(image["dtype"]))
        interpreter.invoke()
        return _said({name: interpreter.get_tensor(at) for name, at in outputs.items()})

    return infer


def _said(outputs: Mapping[str, Any]) -> Outputs:
    """Returns arrays, or the one array."""
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))
