"""A dataset of photographs that plans are made for."""

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo

INFO = DatasetInfo(
    task="multiclass",
    classes=["a", "b"],
    splits={"train": 800, "validation": 100, "test": 100},
    channels=3,
    median_height=500,
    median_width=400,
    fingerprint="",
    source_uri="",
    source_format="",
    split_origin={},
    rejected={},
    notes=[],
)
