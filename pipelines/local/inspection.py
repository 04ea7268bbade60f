"""An inspection of a dataset: its import and its profile, without training."""

import contextlib
import dataclasses
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from kfp import dsl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.data_profiling.component import (
    check_codes,
    check_profile,
    profile_dataset,
)
from kfp_vision.components.shared.artifacts.data_profile import Finding, Profile
from kfp_vision.components.shared.artifacts.dataset_info import SPLITS, DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.runtime.progress import PREFIX
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.pipelines.local.display import Display, open_display
from kfp_vision.pipelines.local.run_record import check_output
from kfp_vision.pipelines.parameters import Parameters

__all__ = ["Inspection", "inspect_dataset"]

_PAGE = "profile/profile.html"
# Rows of the table.
_MOST_CLASSES = 40


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a run would understand of a dataset.

    Attributes:
        info: `dataset.json` of the import; None when it failed.
        profile: `profile.json`; None when the profile was not made.
        reason: Why it cannot be trained; empty when it can.
    """

    info: DatasetInfo | None = dataclasses.field(default=None, repr=False)
    profile: Profile | None = dataclasses.field(default=None, repr=False)
    reason: str = ""

    @property
    def findings(self) -> list[Finding]:
        """The findings of the profile, `fail` first."""
        return self.profile.findings if self.profile else []

    def show(self) -> None:
        """Prints classes and splits, the notes of the import and the findings."""
        if self.info is not None:
            _print(self.info, self.profile, [*self._lines()])

    def _lines(self) -> Iterator[str]:
        # What was left out is among the notes.
        yield from (f"Note: {note}" for note in (self.info.notes if self.info else ()))
        for each in self.findings:
            yield f"Finding {each.code} ({each.level}, {each.count:,}): {each.text}"
        if not self.reason:
            yield "This dataset can be trained."

    def as_json(self) -> str:
        """Returns the JSON that tools rely on: add more keys, rename none."""
        info = self.info
        content = {
            "task": info.task if info else None,
            "format": info.source_format if info else None,
            "classes": info.classes if info else [],
            "splits": info.splits if info else {},
            "rejected": info.rejected if info else {},
            "findings": [
                {"code": each.code, "level": each.level, "count": each.count}
                for each in self.findings
            ],
            "notes": info.notes if info else [],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)


def inspect_dataset(parameters: Parameters, keeps: bool) -> Inspection:
    """Imports and profiles a dataset as a run with the same parameters does.

    Args:
        parameters: `dataset_uri` and what concerns import and profile.
        keeps: Whether `inspect.json`, `profile.html` and `rejected.parquet` go to `output_uri`.
    """
    check_codes(parameters.accept_findings)
    if keeps:
        check_output(parameters)
    # The import holds the dataset twice for a while, on the disk that TMPDIR chooses.
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        folder, output_uri = Path(scratch), parameters.output_uri.rstrip("/")
        reason = ""
        try:
            _run_stages(parameters, folder)
        except (ValueError, OSError, ImportError) as error:
            # The page is removed with the temporary folder.
            where = f" Examples: {output_uri}/profile.html" if keeps else ""
            reason = str(error).replace(f" Examples: {folder / _PAGE}", where)
        info, profile = folder / "dataset" / "dataset.json", folder / "profile" / "profile.json"
        inspection = Inspection(
            read_json(DatasetInfo, info) if info.exists() else None,
            read_json(Profile, profile) if profile.exists() else None,
            reason,
        )
        if keeps:
            (folder / "inspect.json").write_text(inspection.as_json() + "\n", encoding="utf-8")
            for name in ("inspect.json", _PAGE, "dataset/rejected.parquet"):
                if (folder / name).exists():
                    upload(folder / name, f"{output_uri}/{Path(name).name}")
    return inspection


def _run_stages(parameters: Parameters, folder: Path) -> None:
    """Runs the first stages of the pipeline, into `dataset` and `profile`."""
    info = dsl.Artifact(uri=str(folder / "dataset"))
    splits = {name: dsl.Dataset(uri=str(folder / "splits" / name)) for name in SPLITS}
    profile = dsl.Artifact(uri=str(folder / "profile"))
    with _shown("import-dataset"):
        import_dataset.python_func(
            dataset_info=info,
            **splits,
            dataset_uri=parameters.dataset_uri,
            dataset_format=parameters.dataset_format,
            task=parameters.task,
            unlabeled_uri=parameters.unlabeled_uri,
            seed=parameters.seed,
            follow_links=parameters.follow_links,
            positive_class=parameters.positive_class,
        )
    with _shown("profile-dataset"):
        profile_dataset.python_func(
            dataset_info=info,
            **splits,
            profile=profile,
            page=dsl.HTML(uri=str(folder / "page.html")),
            metrics=dsl.Metrics(),
            recipe_uri="",
            architecture=parameters.architecture,
            epochs=parameters.epochs,
            positive_class=parameters.positive_class,
            preset=parameters.preset,
            max_minutes=parameters.max_minutes,
            cost_multiple=parameters.cost_multiple,
            use_validation_for_training=parameters.use_validation_for_training,
            pretrain=parameters.pretrain,
            self_train=parameters.self_train,
            distill=parameters.distill,
            teachers=parameters.teachers,
            deploy=parameters.deploy,
        )
    check_profile.python_func(profile=profile, accept_findings=parameters.accept_findings)


def _print(info: DatasetInfo, profile: Profile | None, lines: list[str]) -> None:
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    counts = profile.class_counts if profile else {}
    table = Table()
    table.add_column("class")
    for split in info.splits:
        table.add_column(split, justify="right")
    for name in info.classes[:_MOST_CLASSES]:
        cells = (counts.get(split, {}).get(name) for split in info.splits)
        table.add_row(escape(name), *("" if cell is None else f"{cell:,}" for cell in cells))
    if len(info.classes) > _MOST_CLASSES:
        table.add_row(f"... and {len(info.classes) - _MOST_CLASSES} more")
    table.add_section()
    table.add_row("images", *(f"{count:,}" for count in info.splits.values()))
    if profile and profile.object_counts:
        objects = (profile.object_counts.get(split, {}) for split in info.splits)
        table.add_row("objects", *(f"{sum(each.values()):,}" if each else "" for each in objects))
    count = f"{len(info.classes)} class{'es' * (len(info.classes) != 1)}"
    say(f"{info.source_uri}: {info.task}, {count}, {info.source_format}")
    console.print(table)
    for line in lines:
        say(line)


class _Sink(io.TextIOBase):
    """Shows the progress that a stage prints, and drops its other lines."""

    def __init__(self, stage: str, display: Display) -> None:
        self._stage, self._display, self._unfinished = stage, display, ""

    def write(self, text: str) -> int:
        """Shows the lines that `text` ends."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            if line.startswith(PREFIX):
                self._display.advance(self._stage, json.loads(line.removeprefix(PREFIX)))
        return len(text)


@contextlib.contextmanager
def _shown(stage: str) -> Iterator[None]:
    """Shows the progress of a stage on standard error, if that is a terminal."""
    started = time.monotonic()
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with (
        open_display(console) as display,
        contextlib.redirect_stdout(_Sink(stage, display)),
        warnings.catch_warnings(action="ignore"),
    ):
        display.start(stage)
        try:
            yield
        except BaseException:
            display.end(stage, "failed", time.monotonic() - started)
            raise
        display.end(stage, "done", time.monotonic() - started)
