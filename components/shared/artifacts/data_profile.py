"""The `profile` artifact: what the images show before any training."""

import dataclasses
from typing import Any, Literal

__all__ = ["Finding", "Profile"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        code: Stable identifier, `leakage_exact` for instance; a user accepts a finding by it.
        level: `fail` stops the pipeline before any training, `warn` goes to the report.
        message: One sentence: the rule, what was found, what to do.
        count: Number of images (or classes) concerned.
        examples: At most 8, each `{"path", "split", "label", "thumbnail"}`; the thumbnail is a
            PNG data URI.
        acceptable: Whether a user can accept it; not where no model could be trained or passed.
    """

    code: str
    level: Literal["fail", "warn"]
    message: str
    count: int
    examples: list[dict[str, str]]
    acceptable: bool = True


@dataclasses.dataclass(frozen=True)
class Profile:
    """`profile.json` of the `profile` artifact; `profile.html` beside it is for people.

    Attributes:
        findings: Sorted, `fail` first.
        class_counts: Split -> class name -> number of images.
        figures: Name -> number or short text (`label_entropy_bits`, ...), the report shows all.
        histograms: Name -> `{"edges": [...], "counts": [...], "unit": ...}`.
        thumbnails: Class name -> a few PNG data URIs of training images.
    """

    findings: list[Finding]
    class_counts: dict[str, dict[str, int]]
    figures: dict[str, Any]
    histograms: dict[str, dict[str, Any]]
    thumbnails: dict[str, list[str]]
