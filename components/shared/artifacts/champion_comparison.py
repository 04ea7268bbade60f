"""The comparison of a model with the champion: a key of `evaluation.json` and `report.json`."""

import dataclasses
from typing import Any, Literal

__all__ = ["ChampionComparison", "ChampionRule", "ComparedPart", "Decision", "PartName"]

ChampionRule = Literal["not_worse", "better"]
Decision = Literal[
    "first", "same", "better", "not_worse", "drifted", "undecided", "worse", "not_comparable"
]
PartName = Literal["all", "frozen", "newest", "old_classes"]


@dataclasses.dataclass(frozen=True)
class ComparedPart:
    """Both models on the same images.

    Attributes:
        name: `all` compared images, those of the `frozen` test set, the `newest` (test images that
            the champion has not known), or those of the `old_classes`, which the champion knows.
        num_images: How many.
        model, champion: `{"value", "ci95"}` of the primary metric; None where it is not defined.
        difference: The same of the model minus the champion, by paired resamples.
    """

    name: PartName
    num_images: int
    model: dict[str, Any] | None = None
    champion: dict[str, Any] | None = None
    difference: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class ChampionComparison:
    """What the gate says.

    Attributes:
        uri: The folder of champions.
        version: Name of this model there.
        created_at: When it was compared; UTC, ISO 8601.
        champion: The version that it was compared with; empty without one.
        decision: `first` (there is no champion), `same` (the model is the champion), `better`,
            `not_worse`, `drifted` (not worse than the champion, but, with what the champions have
            lost before, by more than the margin), `undecided`, `worse`, or `not_comparable`.
        promotes: Whether the model is to replace the champion, by the rule.
        sentence: The decision with its figures.
        rule, margin: Of the run.
        primary: The metric that decides.
        below_best: What the champions have lost since the best of them, this model being one: of
            the primary metric, at least 0.
        parts: `all`, then those of `frozen`, `newest` and, where the model knows more classes than
            the champion, `old_classes` that have images.
        left_out: Test images that either model was trained on.
        classes_added, classes_removed: Those that the champion does not know, and those that only
            it knows.
        notes: What else is different, one sentence each.
    """

    uri: str
    version: str
    created_at: str
    champion: str
    decision: Decision
    promotes: bool
    sentence: str
    rule: str
    margin: float
    primary: str
    below_best: float = 0.0
    parts: list[ComparedPart] = dataclasses.field(default_factory=list)
    left_out: int = 0
    classes_added: list[str] = dataclasses.field(default_factory=list)
    classes_removed: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
