"""Which names of folders and tables mean splits: `train`, `training_set`, `seg_test`, `Val2017`."""

import re
from collections.abc import Iterable

from kfp_vision.components.data_import.samples import SPLIT_NAMES

__all__ = ["is_filler", "is_part", "name_splits", "split_of"]

_SPLITS = {**SPLIT_NAMES, "trainval": "train", "holdout": "test"}
# What names of splits hold beside the split, and what folders around images are called.
_FILLERS = frozenset(
    {"data", "dataset", "datasets", "folder", "folders", "image", "images", "img", "imgs"}
    | {"pictures", "seg", "set", "split"}
)


def name_splits(names: Iterable[str]) -> dict[str, str]:
    """Returns the names of neighbouring folders that mean a split -> one of `SPLITS`.

    A name means a split when it has one split's word and nothing else of meaning, or when
    neighbours with the same other words have the words of different splits: `birds_train` and
    `birds_test`, but neither `bullet_train` and `steam_train` nor `test_tube`.
    """
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        words = _words(name)
        splits = {_SPLITS[word] for word in words if word in _SPLITS}
        if splits:
            split = "train" if "train" in splits else min(splits)
            found[name] = split, " ".join(word for word in words if word not in _SPLITS)
    splits_of: dict[str, set[str]] = {}
    for split, others in found.values():
        splits_of.setdefault(others, set()).add(split)
    return {
        name: split
        for name, (split, others) in found.items()
        if not others or len(splits_of[others]) > 1
    }


def split_of(name: str) -> str | None:
    """Returns the split that a word of a name means, whatever its other words; else None.

    For tables, which are named after more than their split: `train_labels`, `birds-test`.
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def is_filler(name: str) -> bool:
    """Returns whether a folder's name says nothing of what is in it: `images`, `dataset 2`."""
    return not _words(name)


def is_part(name: str) -> bool:
    """Returns whether a folder's name numbers a part of the images: `images_001`."""
    return any(map(str.isdigit, name)) and any(word in _FILLERS for word in _all_words(name))


def _words(name: str) -> list[str]:
    """Returns the words of a name in lower case, without numbers and fillers."""
    words = map(_without_filler, _all_words(name))
    return [word for word in words if word not in _FILLERS]


def _all_words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return re.findall(r"[^\W\d_]+", apart)


def _without_filler(word: str) -> str:
    """Returns `train` for `trainset`, other words as they are."""
    stems = (stem for stem in _SPLITS if word.startswith(stem) and word[len(stem) :] in _FILLERS)
    return next(stems, word)
