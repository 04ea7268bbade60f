"""Folders are what people mean by them, or refused with what was found."""

import pytest

from kfp_vision.components.data_import.layout import find_layout


def _images(*folders: str, count: int = 10) -> dict[str, int]:
    """Returns folders, and those above them, with `count` images in each; `*` is for none."""
    images = {"": 0}
    for folder in folders:
        path = folder.rstrip("*")
        for end in range(1, path.count("/") + 1):
            images.setdefault("/".join(path.split("/")[:end]), 0)
        images[path] = 0 if folder.endswith("*") else count
    return images


def _find(*folders: str):
    return find_layout(_images(*folders), {}, "/data")


# Folders with images -> class folder: (split, class).
MEANT = {
    "classes": (["cat", "dog"], {"cat": (None, "cat"), "dog": (None, "dog")}),
    "usual names": (
        ["training_set/cat", "training_set/dog", "test_set/cat", "test_set/dog"],
        {
            "training_set/cat": ("train", "cat"),
            "training_set/dog": ("train", "dog"),
            "test_set/cat": ("test", "cat"),
            "test_set/dog": ("test", "dog"),
        },
    ),
    "the same name twice": (
        ["seg_train/seg_train/sea", "seg_train/seg_train/ice", "seg_test/seg_test/sea"],
        {
            "seg_train/seg_train/sea": ("train", "sea"),
            "seg_train/seg_train/ice": ("train", "ice"),
            "seg_test/seg_test/sea": ("test", "sea"),
        },
    ),
    "splits in a folder": (
        ["images/train/cat", "images/train/dog", "images/val/cat", "docs*"],
        {
            "images/train/cat": ("train", "cat"),
            "images/train/dog": ("train", "dog"),
            "images/val/cat": ("validation", "cat"),
        },
    ),
    "splits in two folders": (
        ["archive/data/train/cat", "archive/data/train/dog"],
        {"archive/data/train/cat": ("train", "cat"), "archive/data/train/dog": ("train", "dog")},
    ),
    "evaluation": (
        ["train/cat", "train/dog", "eval/cat"],
        {
            "train/cat": ("train", "cat"),
            "train/dog": ("train", "dog"),
            "eval/cat": ("test", "cat"),
        },
    ),
    "no classes in the validation split": (
        ["train/cat/images", "train/dog/images", "val/images", "test/images"],
        {"train/cat": ("train", "cat"), "train/dog": ("train", "dog")},
    ),
    "a class called images": (
        ["train/images", "train/plots", "test/images"],
        {
            "train/images": ("train", "images"),
            "train/plots": ("train", "plots"),
            "test/images": ("test", "images"),
        },
    ),
    "a folder in the splits": (
        ["train/images/cat", "train/images/dog", "test/images/cat"],
        {
            "train/images/cat": ("train", "cat"),
            "train/images/dog": ("train", "dog"),
            "test/images/cat": ("test", "cat"),
        },
    ),
    "class before split": (
        ["cats/train", "cats/test", "dogs/train", "dogs/test"],
        {
            "cats/train": ("train", "cats"),
            "cats/test": ("test", "cats"),
            "dogs/train": ("train", "dogs"),
            "dogs/test": ("test", "dogs"),
        },
    ),
    "the vehicle": (
        ["train", "bus", "car"],
        {"train": (None, "train"), "bus": (None, "bus"), "car": (None, "car")},
    ),
    "a class called test": (
        ["control", "test"],
        {"control": (None, "control"), "test": (None, "test")},
    ),
    "valid and invalid": (
        ["valid", "invalid"],
        {"valid": (None, "valid"), "invalid": (None, "invalid")},
    ),
    "train only": (
        ["train/cat", "train/dog"],
        {"train/cat": ("train", "cat"), "train/dog": ("train", "dog")},
    ),
    "two folders of one split": (
        ["train/cat", "train/dog", "train_images/cat", "test/cat"],
        {
            "train/cat": ("train", "cat"),
            "train/dog": ("train", "dog"),
            "train_images/cat": ("train", "cat"),
            "test/cat": ("test", "cat"),
        },
    ),
    "a class whose images are deeper": (
        ["cat", "dog/puppy", "dog/old/grey"],
        {"cat": (None, "cat"), "dog": (None, "dog")},
    ),
    "an empty class": (
        ["cat", "dog", "emu*"],
        {name: (None, name) for name in ("cat", "dog", "emu")},
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_folders_are_what_people_mean(name):
    folders, classes = MEANT[name]
    assert _find(*folders).classes == classes


def test_unlabelled_images_are_no_class():
    layout = _find("cat", "dog", "unlabeled")
    assert set(layout.classes) == {"cat", "dog"}
    assert layout.splits == {"unlabeled": "unlabeled"}


# Folders -> words of the error: what was found, and the fix.
REFUSED = {
    "no train": (
        ["val/cat", "val/dog", "test/cat"],
        ["'val' (validation)", "'test' (test)", "`train`"],
    ),
    "no train, other names": (["seg_val", "seg_test"], ["'seg_val' (validation)", "`train`"]),
    "test only": (["test/cat", "test/dog"], ["'test' (test)", "`train`"]),
    "classes beside test": (
        ["cat", "dog", "test/cat", "test/dog"],
        ["'test' (test)", "['cat', 'dog']", "`train`"],
    ),
    "no class folders": (
        ["train_images", "test_images"],
        ["'train_images' (train)", "'test_images' (test)", "a table"],
    ),
    "images in splits": (
        ["train/images", "train/labels*", "valid/images", "valid/labels*"],
        ["'train' (train)", "'valid' (validation)", "a table"],
    ),
    "one level too high": (["birds/owl", "birds/jay"], ["'birds'", "'birds/owl'", "`/birds`"]),
    "two levels too high": (["a/birds/owl", "a/birds/jay"], ["'a/birds'", "`/a/birds`"]),
    "images and annotations": (["JPEGImages", "Annotations*"], ["at least two classes"]),
    "images and masks": (["images", "masks"], ["'images', 'masks'", "PNG alone"]),
    "images and masks in splits": (
        ["train/images", "train/masks", "test/images", "test/masks"],
        ["'images', 'masks'"],
    ),
    "detection": (
        ["images/train", "images/val", "labels/train*", "labels/val*"],
        ["'images/train' (train)", "a table"],
    ),
    "class before split, no train": (
        ["cats/val", "cats/test", "dogs/val", "dogs/test"],
        ["'val' (validation)", "'test' (test)", "`train`"],
    ),
    "several data sets": (
        ["a/train/cat", "a/train/dog", "b/train/cat", "b/train/dog"],
        ["'a/train/cat'", "`/a`"],
    ),
    "one class": (["cat"], ["at least two classes", "['cat']"]),
    "most lie outside": (
        ["train/cat", "train/dog", "extra/cat", "extra/dog", "extra/emu"],
        ["20 in 'train' (train)", "30 in 'extra'"],
    ),
    "splits in some classes": (
        ["cat/train", "cat/test", "dog"],
        ["with 'cat'", "without 'dog'"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_nothing_is_refused_with_what_was_found(name):
    folders, words = REFUSED[name]
    with pytest.raises(ValueError, match="Received: ") as caught:
        _find(*folders)
    assert [word for word in words if word not in str(caught.value)] == []


# Folders -> words of the notes.
NOTED = {
    "splits": (["seg_train/cat", "seg_train/dog"], "Split folders: 'seg_train' (train)."),
    "the vehicle": (["train", "bus"], "'train' is taken as a class, not as a split"),
    "test": (["control", "test"], "'test' is taken as a class, not as a split"),
    "left out": (["train/cat", "train/dog", "docs"], "10 images in 'docs' are in no split"),
    "no labels": (
        ["train/cat", "train/dog", "test"],
        "'test' holds 10 images and no class folders",
    ),
    "no labels in images": (
        ["train/cat", "train/dog", "val/images"],
        "'val/images' holds 10 images and no class folders",
    ),
    "no labels in the same name twice": (
        ["train/cat", "train/dog", "test/test"],
        "'test/test' holds 10 images and no class folders",
    ),
    "the same folders in all classes": (
        ["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"],
        "each holds the folders 'cat', 'dog'",
    ),
    "merged": (["a/b", "c"], "'a/b' (10 images) to 'a'"),
    "unlabeled": (["cat", "dog", "unlabeled"], "'unlabeled' (unlabeled)"),
    "wrapped": (["images/train/cat", "images/train/dog"], "in the folder 'images'"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_was_recognised_is_noted(name):
    folders, words = NOTED[name]
    assert any(words in note for note in _find(*folders).notes)


LINKS = {
    "a class": ["cat", "dog"],
    "a split": ["train/cat", "train/dog", "test"],
    "a class in a split": ["train/cat", "train/dog"],
    "all splits": ["train", "test"],
    "in a wrapping folder": ["images/train/cat", "images/train/dog", "images/test"],
    "a split in a class": ["cats/train", "cats/test", "dogs/train", "dogs/test"],
}


@pytest.mark.parametrize("name", LINKS)
def test_a_linked_class_or_split_is_refused(name):
    folders = LINKS[name]
    with pytest.raises(ValueError, match=f"'{folders[-1]}' -> /far.*follow-links"):
        find_layout(_images(*folders), {folders[-1]: "/far with 10 images"}, "/data")


def test_a_link_deeper_down_is_not():
    layout = find_layout(_images("cat", "dog", "cat/more"), {"cat/more": "/far"}, "/data")
    assert set(layout.classes) == {"cat", "dog"}
    assert layout.notes == []
