"""The page: templates filled with what `evidence.py` and `charts.py` computed, in one HTML file.

Class names, paths and messages are untrusted: Jinja escapes all of them, and the page's own policy
(CSP) allows no script but `page.js`, by its hash, and no connection at all.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from kfp_vision.components.evaluation.report import (
    batch_size,
    charts,
    evidence,
    figures,
    search,
    trials,
)
from kfp_vision.components.evaluation.report.inputs import Run
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.shared.datasets.thumbnails import thumbnail

__all__ = ["render_page"]

_FOLDER = Path(__file__).parent
# All functions of `figures.py`: a template formats nothing itself.
_FILTERS = tuple(name for name in figures.__all__ if name.islower())
# Beyond these a page grows by megabytes and shows nothing more.
_GALLERY_CLASSES = 24
_GALLERY_IMAGES = 6


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(figures, name) for name in _FILTERS})
    return environment


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = ("img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join(["default-src 'none'", *sources])


def _class_rows(run: Run) -> list[dict[str, Any]]:
    """Returns one row per class: its counts, its share of the training images, and relative."""
    counts = run.profile.class_counts
    train = counts.get("train", {})
    total, highest = run.dataset.splits.get("train") or 1, max([1, *train.values()])
    return [
        {
            "class": name,
            "counts": {split: held.get(name, 0) for split, held in counts.items()},
            "share": train.get(name, 0) / total,
            "relative": train.get(name, 0) / highest,
        }
        for name in run.dataset.classes
    ]


def render_page(report: Mapping[str, Any], run: Run) -> str:
    """Returns the HTML of the report.

    Args:
        report: The contents of `report.json`.
        run: What the stages wrote.
    """
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    evaluation, classes = run.evaluation, run.dataset.classes
    metrics = evidence.metric_names(report)
    single_label = bool(evaluation.confusion)
    thumbnails = list(run.profile.thumbnails.items())[:_GALLERY_CLASSES]
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            run=run,
            dataset_name=run.dataset.source_uri.rstrip("/").rsplit("/", 1)[-1] or "dataset",
            style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
            script=script,
            policy=_policy(script),
            metrics=metrics,
            meanings=figures.METRIC_MEANINGS,
            baseline_meanings=figures.BASELINE_MEANINGS,
            comparisons={name: evidence.compare_baselines(report, name) for name in metrics},
            gap_closed=evidence.gap_closed,
            class_rows=_class_rows(run),
            gallery=[(name, images[:_GALLERY_IMAGES]) for name, images in thumbnails],
            histograms={
                name: charts.histogram(held["edges"], held["counts"], held.get("unit", ""))
                for name, held in run.profile.histograms.items()
            },
            confusion=evidence.confusion_cells(classes, evaluation.confusion)
            if single_label
            else None,
            confusions=(
                evidence.frequent_confusions(classes, evaluation.confusion) if single_label else []
            ),
            operating=evidence.operating_charts(evaluation.curves),
            calibration=evidence.calibration_chart(evaluation.calibration),
            training=evidence.training_charts(
                run.curves, evaluation.primary, run.training.best_step
            ),
            probe=batch_size.probe_charts(run.probe, run.decided),
            variants=batch_size.variant_rows(run.probe),
            decided=batch_size.decided_settings(run.decided, run.recipe),
            policy_words=search.policy_words(run.augmentation, run.recipe),
            original=thumbnail(run.examples["original"]) if run.examples else "",
            transforms=search.transform_rows(run.augmentation, run.examples, run.recipe),
            beam=trials.beam_chart(run.search),
            gains=trials.gain_bars(run.search, run.augmentation.regularisers),
            length=trials.length_chart(run.search.lengthening),
            words=trials.candidate_words,
            rounds=ROUNDS,
            plain_images=search.plain_images(run.decided),
            command=evidence.reproduction_command(run.dataset.source_uri, run.training.seed),
        )
    )
