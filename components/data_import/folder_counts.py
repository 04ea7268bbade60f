"""A tree of folders with the number of images in each; `""` is the source itself."""

from collections.abc import Mapping

__all__ = ["FolderCounts", "name_of", "parent_of"]


class FolderCounts:
    """Answers questions about folders without asking the storage again.

    Attributes:
        images: Folder -> number of files right in it that may be images.
    """

    def __init__(self, images: Mapping[str, int]) -> None:
        self.images = images
        self._children: dict[str, list[str]] = {}
        self._below: dict[str, int] = {}
        for path in sorted(images):
            if path:
                self._children.setdefault(parent_of(path), []).append(path)
            above = path
            while above:
                self._below[above] = self._below.get(above, 0) + images[path]
                above = parent_of(above)

    def below(self, path: str) -> int:
        """Returns the number of images in and below a folder."""
        return self._below.get(path, 0)

    def children(self, path: str) -> list[str]:
        """Returns the folders right in a folder, sorted."""
        return self._children.get(path, [])

    def used(self, path: str) -> list[str]:
        """Returns those of the children that hold images, themselves or below."""
        return [child for child in self.children(path) if self.below(child)]


def parent_of(path: str) -> str:
    """Returns the folder that a path is in."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Returns the last part of a path."""
    return path.rpartition("/")[2]
