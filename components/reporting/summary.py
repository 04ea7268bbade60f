"""The verdict of a run on one screen, as Markdown: what a server shows beside a task."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.report.figures import interval, label, number, score, size
from kfp_vision.components.shared.report.page import dataset_name

__all__ = ["markdown_summary"]

# Names of classes and files are not ours: nothing in them is markup.
_MARKUP = re.compile(r"([\\*_{}\[\]()#<>|!~])")


def markdown_summary(report: Mapping[str, Any], output_uri: str) -> str:
    """Returns the verdict, the primary metric beside the baselines, the exports, and where all is.

    Args:
        report: The contents of `report.json`.
        output_uri: Where the results are published.
    """
    primary = report["metrics"]["primary"]
    held = report["metrics"]["test"].get(primary)
    images = report["dataset"]["splits"].get("test", 0)
    rows = [("**This model**", held)]
    rows += [(label(name), scores.get(primary)) for name, scores in report["baselines"].items()]
    return "\n".join(
        [
            f"# {_text(dataset_name(report))}: {report['status']}{_shortfall(report)}",
            "",
            f"**{label(primary)} {_figure(held)}** on {number(images)} test images.",
            *_sentences(report),
            "",
            *_table(("", label(primary), "95 % interval"), map(_score_row, rows)),
            "",
            *_exports(report["exports"]),
            f"Warnings: {len(report['warnings'])}. The results lie in {_text(output_uri)}: "
            "`report.html`, `recipe.json`, `predictions.parquet` and the folder `model`.",
            "",
        ]
    )


def _shortfall(report: Mapping[str, Any]) -> str:
    return f", {report['shortfall']}" if report["shortfall"] else ""


def _sentences(report: Mapping[str, Any]) -> Iterator[str]:
    verdict = report["verdict"]
    for sentence in dict.fromkeys([verdict["sentence"], *verdict["reasons"], report["reason"]]):
        if sentence:
            yield from ("", _text(sentence))


def _exports(exports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if exports:
        rows = (
            (
                label(each["format"]),
                size(each["size_bytes"]),
                number(each["latency_ms"], 3),
                "yes" if each["passed"] else _text(each["reason"]),
            )
            for each in exports
        )
        yield from _table(("Export", "Size", "ms an image", "Passed"), rows)
        yield ""


def _score_row(row: tuple[str, Mapping[str, Any] | None]) -> tuple[str, str, str]:
    name, held = row
    return (
        (name, "–", "–") if held is None else (name, score(held["value"]), interval(held["ci95"]))
    )


def _figure(held: Mapping[str, Any] | None) -> str:
    if held is None:
        return "–"
    return f"{score(held['value'])} (95 % interval {interval(held['ci95'])})"


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Returns text of any origin as one line without markup; backticks stay code."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
