"""The usual names of splits are recognised, and names of classes that resemble them are not."""

import pytest

from kfp_vision.components.data_import.split_names import is_filler, name_splits

TRAIN, VALIDATION, TEST, UNLABELED = "train", "validation", "test", "unlabeled"

# Names of neighbouring folders -> the split of each, None for a class.
NEIGHBOURS = [
    ({"train": TRAIN, "val": VALIDATION, "test": TEST}),
    ({"Training": TRAIN, "TESTING": TEST, "valid": VALIDATION}),
    ({"training_set": TRAIN, "test_set": TEST}),
    ({"seg_train": TRAIN, "seg_test": TEST, "seg_pred": None}),
    ({"train_images": TRAIN, "test_images": TEST}),
    ({"train2017": TRAIN, "val2017": VALIDATION, "test2017": TEST}),
    ({"Train": TRAIN, "TEST": TEST}),
    ({"TrainImages": TRAIN, "TestImages": TEST}),
    ({"trainset": TRAIN, "testset": TEST, "valset": VALIDATION}),
    ({"train-data": TRAIN, "test data": TEST, "dev.set": VALIDATION}),
    ({"01_train": TRAIN, "02_test": TEST}),
    ({"traindata": TRAIN, "testdata": TEST}),
    ({"images_train": TRAIN, "imgs_val": VALIDATION}),
    ({"asl_alphabet_train": TRAIN, "asl_alphabet_test": TEST}),
    ({"train_another": TRAIN, "validation_another": VALIDATION, "test_another": TEST}),
    ({"birds_train": TRAIN, "birds_test": TEST, "docs": None}),
    ({"train_val": TRAIN, "test": TEST}),
    ({"trainval": TRAIN, "test": TEST}),
    ({"train": TRAIN, "unlabeled": UNLABELED, "unlabelled_images": UNLABELED}),
    ({"bullet_train": None, "steam_train": None}),
    ({"test_tube": None, "beaker": None}),
    ({"positive_test": None, "negative_test": None}),
    ({"train_station": None, "bus_station": None}),
    ({"contest": None, "training-shoes": None, "valley": None, "developer": None}),
    ({"trainer": None, "tests": None}),
    ({"кот": None, "猫": None, "": None, "1": None}),
]


@pytest.mark.parametrize("names", NEIGHBOURS, ids=lambda names: " ".join(names))
def test_names_of_splits(names):
    assert name_splits(names) == {name: split for name, split in names.items() if split}


@pytest.mark.parametrize(
    ("name", "says_nothing"),
    [("images", True), ("Dataset 2", True), ("data_set", True), ("cats", False), ("train", False)],
)
def test_names_that_say_nothing(name, says_nothing):
    assert is_filler(name) == says_nothing
