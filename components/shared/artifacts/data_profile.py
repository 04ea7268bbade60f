"""The `profile` artifact: what the images show before any training."""

import dataclasses
from typing import Literal

__all__ = ["Example", "Figure", "Finding", "Histogram", "Profile"]

# A number, numbers, or a short text.
Figure = float | str | list[float]


@dataclasses.dataclass(frozen=True)
class Example:
    """An image that shows a finding; the thumbnail is a data URI."""

    path: str
    split: str
    label: str
    thumbnail: str


@dataclasses.dataclass(frozen=True)
class Histogram:
    """N counts between N + 1 edges, in a unit."""

    edges: list[float]
    counts: list[int]
    unit: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        code: Stable identifier, `leakage_exact` for instance; a user accepts a finding by it.
        level: `fail` stops the pipeline before any training, `warn` goes to the report.
        message: One sentence: the rule, what was found, what to do.
        count: Number of images (or classes) concerned.
        examples: At most 8.
        acceptable: Whether a user can accept it; not where no model could be trained or passed.
    """

    code: str
    level: Literal["fail", "warn"]
    message: str
    count: int
    examples: list[Example]
    acceptable: bool = True

    @property
    def text(self) -> str:
        """The message and the files of the first two examples, for where no picture shows them."""
        paths = dict.fromkeys(example.path for example in self.examples)
        return " ".join([self.message, *([f"See {', '.join([*paths][:2])}."] if paths else [])])


@dataclasses.dataclass(frozen=True)
class Profile:
    """`profile.json` of the `profile` artifact; `profile.html` beside it is for people.

    Attributes:
        findings: Sorted, `fail` first.
        class_counts: Split -> class name -> number of images.
        figures: `label_entropy_bits` and others, the report shows all.
        histograms: Of sizes and gray levels.
        thumbnails: Class name -> a few data URIs of training images, with objects drawn.
        object_counts: Split -> class name -> number of objects; empty for a task without.
    """

    findings: list[Finding]
    class_counts: dict[str, dict[str, int]]
    figures: dict[str, Figure]
    histograms: dict[str, Histogram]
    thumbnails: dict[str, list[str]]
    object_counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
