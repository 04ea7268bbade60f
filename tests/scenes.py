"""Images whose targets lie in them: coloured fish as a COCO file, and landscapes with masks.

A fish has a red nose, a blue tail and a green left and a yellow right fin: a mirror image swaps the
fins, and the keypoints say so.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["KEYPOINTS", "write_mask_scenes", "write_scenes"]

_HEIGHT, _WIDTH = 48, 64
# Name -> place along and across the fish, from -1 to 1, and colour.
KEYPOINTS = {
    "nose": ((1.0, 0.0), (230, 40, 30)),
    "tail": ((-1.0, 0.0), (30, 50, 230)),
    "left_fin": ((0.1, -1.0), (40, 200, 60)),
    "right_fin": ((0.1, 1.0), (230, 220, 40)),
}
_LONG, _WIDE = 9.0, 5.0


def write_scenes(folder: Path, counts: dict[str, int]) -> Path:
    """Writes images of none to three fish, and a COCO file for each split.

    Args:
        folder: Is made.
        counts: Split -> images.
    """
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        (folder / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            noise = generator.normal(128, 20, (_HEIGHT, _WIDTH, 3)).clip(0, 255)
            image = Image.fromarray(noise.astype(np.uint8))
            images.append({"id": index, "file_name": f"{index}.png"})
            images[-1] |= {"height": _HEIGHT, "width": _WIDTH}
            for place in range(index % 4):
                centre = 11 + 21 * place, generator.uniform(12, _HEIGHT - 12)
                held = _draw_fish(image, np.array(centre), generator.uniform(0, 2 * np.pi))
                held |= {"id": len(annotations), "image_id": index, "category_id": 1, "iscrowd": 0}
                annotations.append(held)
            image.save(folder / f"{split}/{index}.png")
        category = {"id": 1, "name": "fish", "keypoints": list(KEYPOINTS), "skeleton": []}
        document = {"images": images, "annotations": annotations, "categories": [category]}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(document))
    return folder


def write_mask_scenes(folder: Path, counts: dict[str, int]) -> Path:
    """Writes scenes of a sky, a ground and a box, whose colours and noise vary, and their masks.

    Args:
        folder: Is made.
        counts: Split -> images.
    """
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            height, width = 36, 48 + 4 * (index % 3)
            mask = np.zeros((height, width), np.uint8)
            mask[generator.integers(12, 24) :] = 1
            top, left = generator.integers(0, 20, 2)
            mask[top : top + 12, left : left + 16] = 2
            colours = np.array([[90, 140, 220], [70, 130, 60], [200, 60, 50]])
            pixels = colours[mask] + generator.normal(0, 25, (height, width, 3))
            mask[:2] = 255  # Of no class.
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / f"{split}/images/{index}.png"
            )
            Image.fromarray(mask).save(folder / f"{split}/masks/{index}.png")
    (folder / "classes.txt").write_text("sky\nground\nbox\n")
    return folder


def _draw_fish(image: Image.Image, centre: np.ndarray, angle: float) -> dict[str, Any]:
    """Returns the annotation of a fish that is drawn."""
    along = np.array([np.cos(angle), np.sin(angle)])
    turn = np.stack([_LONG * along, _WIDE * np.array([-along[1], along[0]])])
    circle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    outline = centre + np.stack([np.cos(circle), np.sin(circle)], -1) @ turn
    canvas = ImageDraw.Draw(image)
    canvas.polygon([tuple(each) for each in outline.tolist()], fill=(90, 90, 90))
    points: list[float] = []
    for place, colour in KEYPOINTS.values():
        x, y = (centre + 0.8 * np.array(place) @ turn).tolist()
        # Pixel i covers i to i + 1.
        canvas.ellipse([x - 2, y - 2, x + 1, y + 1], fill=colour)
        points += [x, y, 2]
    (left, top), (right, bottom) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    return {
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "segmentation": [outline.ravel().tolist()],
        "keypoints": points,
        "num_keypoints": len(KEYPOINTS),
    }
