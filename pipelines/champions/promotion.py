"""After publishing: a model that has passed becomes the champion, or is kept as a challenger."""

import json
from importlib.metadata import version
from pathlib import Path

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.champions.known_images import IMAGES_FILE
from kfp_vision.components.shared.champions.store import (
    SOURCES_FOLDER,
    ImportFacts,
    Lineage,
    add_version,
    read_champions,
    record,
    version_uri,
)
from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.progress import show_note
from kfp_vision.components.shared.runtime.storage import StorageError, is_remote, local_path
from kfp_vision.pipelines.publishing.publish import rejection, result_files

__all__ = ["describe_outcome", "enter_champions"]


def enter_champions(
    evaluation_dir: Path,
    exports_dir: Path,
    report_dir: Path,
    sources_dir: Path,
    champion_uri: str,
    output_uri: str,
    imported: ImportFacts,
    split_version: str,
) -> bool:
    """Publishes the model as a version, and then makes it the champion or not; says which.

    A model that is rejected, and one that is the champion already, are not published again.

    Args:
        evaluation_dir: The `evaluation` artifact, with the decision.
        exports_dir: The `exports` artifact.
        report_dir: The `report` artifact.
        sources_dir: The `sources` artifact: which files the run has read.
        champion_uri: The folder of champions.
        output_uri: Of the run.
        imported: How the images were imported.
        split_version: The version whose images kept their split.

    Returns:
        Whether nothing is left to do: the model has passed, and was not overtaken by another one.
    """
    evaluation = read_json(Evaluation, evaluation_dir / "evaluation.json")
    comparison = evaluation.champion
    if comparison is None or rejection(report_dir):
        show_note("A rejected model is no challenger: the folder of champions stays as it is.")
        return False
    if comparison.decision == "same":
        show_note(comparison.sentence)
        return True
    report = json.loads((report_dir / "report.json").read_text(encoding="utf-8"))
    entries = read_champions(champion_uri)
    if entries.last_entry(comparison.version) is None:
        lineage = Lineage(
            version=comparison.version,
            created_at=comparison.created_at,
            kfp_vision_version=version("kfp-vision"),
            output_uri=output_uri,
            imported=imported,
            split_version=split_version,
            dataset=report["dataset"],
            primary=evaluation.primary,
            metrics=evaluation.metrics["test"],
            comparison=report["champion"],
            files={},
        )
        files = result_files(evaluation_dir, exports_dir, report_dir)
        files |= {IMAGES_FILE: evaluation_dir / IMAGES_FILE, SOURCES_FOLDER: sources_dir}
        folders = () if is_remote(champion_uri) else (local_path(champion_uri, "champion_uri"),)
        with explain_full_disk(*folders):
            add_version(champion_uri, files, lineage)
    entry = record(
        champion_uri,
        comparison.version,
        comparison.promotes,
        comparison.champion,
        comparison.sentence,
    )
    show_note(describe_outcome(comparison))
    return entry.kind != "overtaken"


def describe_outcome(comparison: ChampionComparison) -> str:
    """Returns what has become of a model, in one line; what was decided, if that cannot be read.

    Another run may have been faster, and somebody may have promoted or rolled back since.
    """
    try:
        champions = read_champions(comparison.uri)
    except StorageError:
        return comparison.sentence
    entry = champions.last_entry(comparison.version)
    if entry is None:
        return f"Champion {champions.champion}: {comparison.sentence}"
    kind = "Champion" if champions.champion == comparison.version else "Challenger"
    return f"{kind} {version_uri(comparison.uri, comparison.version)}: {entry.reason}"
