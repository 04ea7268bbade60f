"""`README.md` beside exported models: how to use them without this package."""

from collections.abc import Sequence

from kfp_vision.components.shared.artifacts.evaluation_result import Export
from kfp_vision.components.shared.artifacts.model_card import ModelCard

__all__ = ["model_readme"]

# File or folder -> what reads it, and the type of the pixels.
_READERS = {
    "model.keras": ("Keras: `keras.models.load_model`", "float32"),
    "saved_model": (
        "TensorFlow: `tf.saved_model.load`, its function `serve`, which returns outputs by name",
        "float32",
    ),
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

photo = ImageOps.exif_transpose(Image.open("image.png"))
if photo.has_transparency_data:
    photo = photo.convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
photo = photo.convert("{mode}")  # Of 8 bits.
image = photo.resize(({width}, {height}), Image.Resampling.BILINEAR)
pixels = np.asarray(image, np.float32).reshape(1, {height}, {width}, {channels})
session = onnxruntime.InferenceSession("model.onnx")
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {{"pixels": pixels}})))
{more}```
"""
_LABELS = """
print(outputs["probabilities"][0])  # Of the classes, in their order.
"""
_MASKS = """
likeliest = np.full((photo.height, photo.width), -1, np.float32)
mask = np.zeros((photo.height, photo.width), np.uint8)  # The class of each pixel of the photo.
for label in range({num_classes}):
    plane = Image.fromarray(outputs["mask_probabilities"][0, :, :, label].copy())
    larger = np.asarray(plane.resize(photo.size, Image.Resampling.BILINEAR))
    mask[larger > likeliest] = label
    likeliest = np.maximum(likeliest, larger)
Image.fromarray(mask).save("mask.png")
"""
_OBJECTS = """
scale = [photo.width / {width}, photo.height / {height}]
boxes = outputs["boxes"][0] * (scale * 2)  # In pixels of the photo.
for number, (left, top, right, bottom) in enumerate(boxes):
    score, label = outputs["scores"][0][number], outputs["classes"][0][number]
    # From here on the validation images had the best balance of misses and false alarms.
    if score < {least_score:g}:
        continue
    print(label, score, boxes[number])
"""
_SEGMENTS = """\
    # The mask covers the box enlarged by half, which may reach beyond the photo.
    mask = outputs["masks"][0][number]
    step_x, step_y = 1.5 * (right - left) / mask.shape[1], 1.5 * (bottom - top) / mask.shape[0]
    start_x, start_y = (5 * left - right) / 4, (5 * top - bottom) / 4
    place = (1 / step_x, 0, -start_x / step_x, 0, 1 / step_y, -start_y / step_y)
    larger = Image.fromarray(mask.copy()).transform(
        photo.size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR
    )
    inside = np.asarray(larger) >= 0.5  # Of each pixel of the photo, [height, width].
    Image.fromarray(inside).save(f"mask-{{number}}.png")
"""
_KEYPOINTS = """\
    for (x, y, sure), name in zip(outputs["keypoints"][0][number], {keypoint_names}):
        print("   ", name, x * scale[0], y * scale[1], sure)
"""
# Task -> what the example goes on with: results in pixels of the photo.
_RESULTS = {
    "semantic_segmentation": _MASKS,
    "detection": _OBJECTS,
    "instance_segmentation": _OBJECTS + _SEGMENTS,
    "keypoints": _OBJECTS + _KEYPOINTS,
}


def model_readme(card: ModelCard, exports: Sequence[Export], primary: str) -> str:
    """Returns the page, in Markdown.

    Args:
        card: Of the model.
        exports: What lies beside the page.
        primary: The metric by which files are judged.
    """
    height, width = card.image_size
    lines = [
        f"# Model for {card.task.replace('_', ' ')}",
        "",
        f"**Input** `pixels`: 0 to 255, [batch, {height}, {width}, {card.channels}] (height, "
        "width, channels). Images of another size are resized whole, their shape is not kept. What "
        "is subtracted and divided is in the model.",
    ]
    lines.append(
        f"Transparent images lie on white. Of 16-bit images {card.white_level} becomes 255."
    )
    lines += [
        "",
        f"**Output** {card.output}.",
        "",
        "**Classes** " + ", ".join(f"{n}: {name}" for n, name in enumerate(card.classes)) + ".",
    ]
    if card.keypoint_names:
        named = ", ".join(f"{n}: {name}" for n, name in enumerate(card.keypoint_names))
        lines += ["", f"**Keypoints** {named}."]
    lines += ["", f"| file | is read by | pixels | {primary} | check |", "|---|---|---|---|---|"]
    for export in exports:
        reader, kind = _READERS[export.path]
        metric = f"{export.metrics[primary]:.4f}" if primary in export.metrics else "-"
        check = "passed" if export.passed else f"**failed**: {export.reason}"
        lines.append(f"| `{export.path}` | {reader} | {kind} | {metric} | {check} |")
    measured = "Each file was loaded in its own runtime and measured there on test images"
    if card.task == "semantic_segmentation":
        measured += ", by masks of the size of the input; in the report they have their own size"
    lines += ["", f"{measured}."]
    page = "\n".join(lines) + "\n"
    if "model.onnx" in [export.path for export in exports if export.passed]:
        mode = "L" if card.channels == 1 else "RGB"
        more = _RESULTS.get(card.task, _LABELS).format(
            height=height,
            width=width,
            num_classes=len(card.classes),
            least_score=card.least_score or 0.0,
            keypoint_names=card.keypoint_names,
        )
        page += _USE.format(
            mode=mode, height=height, width=width, channels=card.channels, more=more
        )
    return page
