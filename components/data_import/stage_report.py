"""What the import tells the report: the task and the dataset; the profile shows the images."""

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.report.records import StageReport

__all__ = ["import_report"]


def import_report(info: DatasetInfo) -> StageReport:
    """Returns `task` and `dataset` of `report.json`."""
    return StageReport(
        summary={
            "task": info.task,
            "dataset": {
                "uri": info.source_uri,
                "unlabeled_uri": info.unlabeled_uri,
                "fingerprint": info.fingerprint,
                "splits": info.splits,
                "classes": info.classes,
            },
        }
    )
