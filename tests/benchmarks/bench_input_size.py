"""What a larger input is worth: trainings of equally many steps, judged on the validation images.

python tests/benchmarks/bench_input_size.py [--sets four-fields nuclei-coco bccd-voc]
    [--sides 224 448] [--steps 120] [--seed 0]

`four-fields` is bccd-voc with four images joined to one, so that its objects have half the sides.
A side is that of the square of the same area. The test images are not looked at.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench_real_sets import unpack
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.dense import dense_recipe
from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.training.train import train_model

_WIDTH, _HEIGHT = 640, 480
_SETS = ("four-fields", "nuclei-coco", "bccd-voc")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _boxes(annotations: Path) -> list[tuple[str, list[float]]]:
    """Returns class and (left, top, right, bottom) of the objects within the image."""
    objects = []
    for each in ElementTree.parse(annotations).getroot().iter("object"):
        box = [float(each.findtext(f"bndbox/{corner}") or 0) for corner in _CORNERS]
        if box[0] < box[2] <= _WIDTH and box[1] < box[3] <= _HEIGHT:
            objects.append((each.findtext("name") or "", box))
    return objects


def _join_four(source: Path, target: Path) -> Path:
    """Writes images of 2 x 2 images of bccd-voc, with COCO files, and returns the folder."""
    classes = ("RBC", "WBC", "Platelets")
    for split in ("train", "val", "test"):
        names = (source / f"ImageSets/Main/{split}.txt").read_text().split()
        (target / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(len(names) // 4):
            canvas = Image.new("RGB", (2 * _WIDTH, 2 * _HEIGHT))
            for place, name in enumerate(names[4 * index : 4 * index + 4]):
                x, y = _WIDTH * (place % 2), _HEIGHT * (place // 2)
                with Image.open(source / f"JPEGImages/{name}.jpg") as image:
                    canvas.paste(image.convert("RGB"), (x, y))
                for label, (left, top, right, bottom) in _boxes(source / f"Annotations/{name}.xml"):
                    annotations.append(
                        {
                            "id": len(annotations),
                            "image_id": index,
                            "category_id": classes.index(label),
                            "bbox": [left + x, top + y, right - left, bottom - top],
                            "area": (right - left) * (bottom - top),
                            "iscrowd": 0,
                        }
                    )
            canvas.save(target / split / f"{index}.jpg", quality=95)
            images.append({"id": index, "file_name": f"{index}.jpg"})
            images[-1] |= {"width": 2 * _WIDTH, "height": 2 * _HEIGHT}
        categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (target / split / "_annotations.coco.json").write_text(json.dumps(document))
    return target


def _train(dataset: Path, folder: Path, side: int, steps: int, seed: int) -> dict[str, Any]:
    """Returns size, validation metrics of the best checkpoint, and seconds."""
    info = read_json(DatasetInfo, dataset / "dataset.json")
    height, width = size_of_area(info.median_height, info.median_width, side)
    candidate = Candidate(DEFAULT_PRETRAINED, height, width, "all")
    profile_images(dataset, Recipe({}), folder / "profile", ProfileConfig())
    choices = UserChoices(seed=seed)
    profiled = candidate.in_recipe(read_recipe(folder / "profile/recipe.json"))
    recipe = dense_recipe(complete_recipe(profiled, info, choices), info, candidate, "", 1e9)
    length = {"steps": Setting(steps, "benchmark", source="user")}
    write_recipe(recipe.with_settings("training", length), folder / "recipe.json")
    train_model(dataset, folder / "recipe.json", folder / "model", folder / "checkpoints", choices)
    training = json.loads((folder / "model/training.json").read_text())
    found = {name: round(value, 4) for name, value in training["validation"].items()}
    return {"size": [width, height], **found, "seconds": round(training["seconds"])}


def main() -> None:
    """Prints what the trainings print, then the metrics of each size of each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=_SETS, default=list(_SETS))
    parser.add_argument("--sides", nargs="+", type=int, default=[224, 448])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result: dict[str, dict[int, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.sets:
            folder = Path(scratch) / name
            folder.mkdir()
            source = unpack("bccd-voc" if name == "four-fields" else name, folder)
            if name == "four-fields":
                source = _join_four(source, folder / "joined")
            import_dataset(str(source), folder / "dataset", ImportConfig())
            result[name] = {
                side: _train(
                    folder / "dataset", folder / str(side), side, arguments.steps, arguments.seed
                )
                for side in arguments.sides
            }
    print("RESULT " + json.dumps({"sets": result}))


if __name__ == "__main__":
    main()
