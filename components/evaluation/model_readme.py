"""`README.md` beside exported models: how to use them without this package."""

from collections.abc import Collection

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.sixteen_bit import FULL_WHITE

__all__ = ["model_readme"]

# File or folder -> what reads it, and the type of the pixels.
_READERS = {
    "model.keras": ("Keras: `keras.models.load_model`", "float32"),
    "saved_model": ("TensorFlow: `tf.saved_model.load`, its function `serve`", "float32"),
    "model.onnx": ("ONNX Runtime", "float32"),
    "model.tflite": ("LiteRT: `ai_edge_litert.interpreter.Interpreter`", "float32"),
    "model_int8.tflite": ("LiteRT, the same", "uint8"),
}

_USE = """
## An image

```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

photo = ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}")
image = photo.resize(({width}, {height}), Image.Resampling.BILINEAR)
pixels = np.asarray(image, np.float32).reshape(1, {height}, {width}, {channels})
session = onnxruntime.InferenceSession("model.onnx")
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {{"pixels": pixels}})))
{more}```
"""
_OBJECTS = """
scale = [photo.width / {width}, photo.height / {height}] * 2
boxes = outputs["boxes"][0] * scale  # In pixels of the photo.
for box, score, label in zip(boxes, outputs["scores"][0], outputs["classes"][0]):
    # From here on the validation images had the best balance of misses and false alarms.
    if score >= {least_score:g}:
        print(label, score, box)
"""


def model_readme(card: ModelCard, files: Collection[str]) -> str:
    """Returns the page, in Markdown.

    Args:
        card: Of the model.
        files: Those beside the page, as paths of `Export`.
    """
    height, width = card.image_size
    lines = [
        f"# Model for {card.task.replace('_', ' ')}",
        "",
        f"**Input** `pixels`: 0 to 255, [batch, {height}, {width}, {card.channels}] (height, "
        "width, channels). Images of another size are resized whole, their shape is not kept. What "
        "is subtracted and divided is in the model.",
    ]
    if card.white_level != FULL_WHITE:
        lines.append(f"The value {card.white_level} of 16-bit images becomes 255.")
    lines += [
        "",
        f"**Output** {card.output}.",
        "",
        "**Classes** " + ", ".join(f"{n}: {name}" for n, name in enumerate(card.classes)) + ".",
    ]
    if card.keypoint_names:
        named = ", ".join(f"{n}: {name}" for n, name in enumerate(card.keypoint_names))
        lines += ["", f"**Keypoints** {named}."]
    lines += ["", "| file | is read by | pixels |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {reader} | {kind} |"
        for name, (reader, kind) in _READERS.items()
        if name in files
    ]
    page = "\n".join(lines) + "\n"
    if "model.onnx" in files:
        mode = "L" if card.channels == 1 else "RGB"
        more = ""
        if card.least_score is not None:
            more = _OBJECTS.format(height=height, width=width, least_score=card.least_score)
        page += _USE.format(
            mode=mode, height=height, width=width, channels=card.channels, more=more
        )
    return page
