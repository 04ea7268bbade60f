"""The report once more, from the artifacts of a run: after an update of its page for instance."""

import json
import tempfile
from pathlib import Path

from kfp import dsl

from kfp_vision.components.evaluation.component import build_report
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.pipelines.publishing.publish import ARTIFACTS_FILE

__all__ = ["rebuild_report"]

_INPUTS = (
    "dataset",
    "profile",
    "probe",
    "augmentation",
    "search",
    "model",
    "evaluation",
    "exports",
)


def rebuild_report(output: Path) -> None:
    """Builds `report.html` and `report.json` of an output folder again.

    Raises:
        ValueError: The folder is not the output of a run that came to its end, or that of a
            version with other stages.
    """
    listing = output / ARTIFACTS_FILE
    if not listing.is_file():
        raise ValueError(
            f"A report is built from the artifacts that {ARTIFACTS_FILE} lists. Received: {output}"
            ", which has none. `kfp-vision run` with this output makes it."
        )
    uris = json.loads(listing.read_text(encoding="utf-8"))
    if missing := [name for name in _INPUTS if name not in uris]:
        raise ValueError(
            f"A report is built from the artifacts {', '.join(_INPUTS)}. Received: {listing}, made "
            f"by another version, without {', '.join(missing)}. `kfp-vision run` with this output "
            "makes it anew."
        )
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report")
        build_report.python_func(
            **{name: dsl.Artifact(uri=uris[name]) for name in _INPUTS},
            report=dsl.Artifact(uri=str(report)),
            page=dsl.HTML(uri=f"{scratch}/page.html"),
        )
        for name in ("report.html", "report.json"):
            upload(report / name, f"{output}/{name}")
