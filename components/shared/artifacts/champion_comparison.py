"""The comparison of a model with the champion: a key of `evaluation.json` and `report.json`."""

import dataclasses
from typing import Any, Literal

__all__ = ["ChampionComparison", "ChampionRule", "ComparedPart", "Decision"]

ChampionRule = Literal["not_worse", "better"]
Decision = Literal["first", "same", "better", "not_worse", "undecided", "worse", "not_comparable"]


@dataclasses.dataclass(frozen=True)
class ComparedPart:
    """Both models on the same images.

    Attributes:
        name: `all` compared images, those of the `frozen` test set, or the `newest`: test images
            that the champion has not known.
        num_images: How many.
        model, champion: `{"value", "ci95"}` of the primary metric; None where it is not defined.
        difference: The same of the model minus the champion, by paired resamples.
    """

    name: Literal["all", "frozen", "newest"]
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
            `not_worse`, `undecided`, `worse`, or `not_comparable`.
        promotes: Whether the model is to replace the champion, by the rule.
        sentence: The decision with its figures.
        rule, margin: Of the run.
        primary: The metric that decides.
        parts: `all`, then those of `frozen` and `newest` that have images.
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
    parts: list[ComparedPart] = dataclasses.field(default_factory=list)
    left_out: int = 0
    classes_added: list[str] = dataclasses.field(default_factory=list)
    classes_removed: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
