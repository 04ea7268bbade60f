"""The report, built again from the artifacts of a run."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

from kfp import dsl

from kfp_vision.components.reporting.component import build_report
from kfp_vision.components.shared.report.records import STAGES_FILE
from kfp_vision.components.shared.runtime.storage import local_path, upload
from kfp_vision.pipelines.publishing.publish import ARTIFACTS_FILE

__all__ = ["report_page"]

# Of the last stage: it holds what all of them have handed on.
_LAST = "exports"


def report_page(output_uri: str, rebuild: bool) -> Path:
    """Returns where the page of a run is; builds it when it is missing or `rebuild` asks for it.

    Raises:
        ValueError: The output is in a bucket, or is not that of a finished run of this version.
    """
    folder = local_path(output_uri, "output")
    page = folder / "report.html"
    if rebuild or not page.exists():
        _rebuild(folder)
    return page.absolute()


def _rebuild(output: Path) -> None:
    """Builds `report.html` and `report.json` of an output folder again."""
    listing = output / ARTIFACTS_FILE
    if not listing.is_file():
        raise ValueError(
            f"A report is built from the artifacts that {ARTIFACTS_FILE} lists. Received: {output}"
            ", which has none. `kfp-vision run` with this output makes it."
        )
    uris = json.loads(listing.read_text(encoding="utf-8"))
    stages = dsl.Artifact(uri=uris.get(_LAST, ""))
    if not Path(stages.path, STAGES_FILE).is_file():
        raise ValueError(
            f"A report is built from {STAGES_FILE} of the artifact `{_LAST}`. Received: {listing}, "
            "in whose artifact it is not: it was moved, or made by another version. `kfp-vision "
            "run` with this output makes it anew."
        )
    # The stage prints its progress; the command prints where the page is.
    quiet = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as scratch, quiet:
        report = Path(scratch, "report")
        build_report.python_func(
            stages=stages,
            report=dsl.Artifact(uri=str(report)),
            page=dsl.HTML(uri=f"{scratch}/page.html"),
        )
        for name in ("report.html", "report.json"):
            upload(report / name, f"{output}/{name}")
