"""One listing of a folder of images: what may be read, and why the rest is not."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from os.path import realpath
from pathlib import Path

from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.layout_checks import show_paths
from kfp_vision.components.data_import.paths import (
    FOLLOW,
    reject_link,
    reject_name,
    require_few_links,
)
from kfp_vision.components.data_import.samples import Rejection
from kfp_vision.components.shared.datasets.image_files import (
    escape_name,
    file_kind,
    require_readable,
)
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.runtime.storage.file_trees import Tree, walk_folder

__all__ = ["FolderListing", "is_archive", "list_folder"]

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
# x_mask.png and x_mask_1.png beside x.png, x_segmentation.png beside x.jpg.
_MASK = re.compile(r"(.+)[-_ .](?:mask|seg|segmentation|gt|groundtruth)(?:[-_ ]?\d+)?")
# Suffixes of what lies beside images: tables, labels of other tasks, texts, code, models.
_BESIDE = (
    *(".csv", ".gz", ".htm", ".html", ".ipynb", ".json", ".jsonl", ".log", ".mat", ".md", ".npy"),
    *(".npz", ".parquet", ".pdf", ".pickle", ".pkl", ".py", ".rst", ".tsv", ".txt", ".xml"),
    *(".yaml", ".yml", *_ARCHIVES),
)


@dataclasses.dataclass(frozen=True)
class FolderListing:
    """What lies below a folder.

    Attributes:
        paths: Of everything but folders, sorted.
        rejections: Those of `paths` that are not to be read -> why.
        images: Folder that is not hidden -> number of files right in it that may be images; `""`
            is the folder itself. Links to folders have the images that they lead to.
        linked: Links to folders that are not followed, or to nothing -> what they lead to, in
            words for messages.
        notes: What was left out, one sentence each.
        outside: Number of `images` that links out of the folder lead to.
    """

    paths: list[str]
    rejections: dict[str, Rejection]
    images: dict[str, int]
    linked: dict[str, str]
    notes: list[str]
    outside: int

    def require_inside(self) -> None:
        """Refuses a folder of which most images are behind links that are not followed.

        Raises:
            ValueError: More images lie outside of the folder than in it.
        """
        refused = [each for each in self.rejections.values() if each.code == "outside_root"]
        if refused:
            require_few_links(self.outside, sum(self.images.values()) - self.outside, refused[0])


def list_folder(folder: Folder) -> FolderListing:
    """Lists a folder once.

    Raises:
        StorageError: A folder below must not be read.
    """
    tree = folder.list_tree()
    require_readable(folder, tree)
    paths = tree.entries()
    masks = _masks(tree.files)
    rejections = masks | _rejections(folder, tree, paths)
    images = {"": 0} | {path: 0 for path in tree.folders if file_kind(path) != "hidden"}
    for path in tree.files:
        if _may_be_image(path) and path not in masks:
            images[parent_of(path)] += 1
    linked = _linked_folders(folder, tree)
    # A link to nothing counts as a folder with an image: what was in it is not known.
    images |= {path: max(count, 1) for path, (_, count) in linked.items()}
    outside = [path for path, each in rejections.items() if each.code == "outside_root"]
    notes = _hidden_notes(tree)
    archives = list(filter(is_archive, tree.files))
    if archives:
        notes.append(f"Archives are not read, unpack them: {show_paths(archives)}.")
    notes += [
        f"{path!r} is a link to {target} with {count} images, which are not read. {FOLLOW}"
        for path, (target, count) in linked.items()
        if count
    ]
    return FolderListing(
        paths,
        rejections,
        images,
        {
            path: f"{target} with {count} images" if count else f"{target}, where no image is"
            for path, (target, count) in linked.items()
        },
        notes,
        sum(images[path] if path in linked else _may_be_image(path) for path in outside),
    )


def is_archive(name: str) -> bool:
    """Returns whether a file is called like an archive."""
    return name.lower().endswith(_ARCHIVES)


def _rejections(folder: Folder, tree: Tree, paths: list[str]) -> dict[str, Rejection]:
    links, others = {*tree.links, *tree.linked_folders}, set(tree.others)
    rejections = {}
    for path in paths:
        rejection = reject_name(path)
        if file_kind(path) == "hidden":
            message = "Hidden files and folders, and those of systems, hold no images."
            rejection = Rejection(escape_name(path), "hidden", message)
        elif path in others:
            message = (
                "Pipes, sockets and devices hold no image."
                if folder.is_local
                else "A key with empty parts, `.` or `..` is not read: rename the object."
            )
            rejection = Rejection(escape_name(path), "not_a_file", message)
        elif path in links:
            rejection = rejection or reject_link(folder, path)
        if rejection:
            rejections[path] = rejection
    if folder.follow_links:
        message = "The link leads back to a folder that it is in."
        for path in tree.linked_folders:
            rejections.setdefault(path, Rejection(path, "linked_folder", message))
    return rejections


def _masks(files: Iterable[str]) -> dict[str, Rejection]:
    """Returns the images that are called after another one in their folder, as its mask."""
    images = {path.rpartition(".")[0]: path for path in files if file_kind(path) == "image"}
    found = {}
    for stem, path in images.items():
        named = _MASK.fullmatch(name_of(stem).lower())
        image = named and images.get(stem[: len(stem) - len(name_of(stem)) + named.end(1)])
        if image:
            message = f"By its name it is the mask of {name_of(image)}, not an image of its own."
            found[path] = Rejection(escape_name(path), "mask", escape_name(message))
    return found


def _linked_folders(folder: Folder, tree: Tree) -> dict[str, tuple[str, int]]:
    """Returns the links that stand for a folder -> where to, and the number of images there."""
    found = {}
    # A link to nothing that is not called like a file was a link to a folder.
    gone = [
        path
        for path in tree.links
        if file_kind(path) == "unknown"
        and "." not in name_of(path)
        and not Path(folder.root, path).exists()
    ]
    # With links followed, the linked folders are those that lead back to a folder above them.
    for path in gone if folder.follow_links else [*tree.linked_folders, *gone]:
        target = Path(realpath(f"{folder.root}/{path}"))
        if file_kind(path) == "hidden" or Path(folder.root).is_relative_to(target):
            continue
        below = walk_folder(str(target), follow_links=False) if target.is_dir() else Tree()
        found[path] = (escape_name(str(target)), sum(map(_may_be_image, below.files)))
    return found


def _hidden_notes(tree: Tree) -> list[str]:
    """Returns a note on images in folders that are not looked into."""
    folders = {path for path in tree.folders if file_kind(path) == "hidden"}
    images = Counter(
        parent_of(path)
        for path in tree.files
        if parent_of(path) in folders and file_kind(name_of(path)) == "image"
    )
    found = f"{images.total()} images in hidden folders, or folders of a system, are left out"
    return [f"{found}: {show_paths(images)}."] if images else []


def _may_be_image(path: str) -> bool:
    """Returns whether a file is neither hidden nor called like something else than an image."""
    kind = file_kind(path)
    return kind == "image" or (kind == "unknown" and not path.lower().endswith(_BESIDE))
