"""The profile as one self-contained page for people: `page.html` filled in."""

import re
from pathlib import Path
from typing import Any

import jinja2

from kfp_vision.components.shared.artifacts.data_profile import Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe

__all__ = ["write_page"]

# Bars drawn of the class balance; the smallest classes are among them, because they decide.
_BARS = 60


def write_page(info: DatasetInfo, profile: Profile, recipe: Recipe, path: Path) -> None:
    """Writes the page. Names and messages come from the data, so all are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    environment.filters["plain"] = _plain
    figures = dict(profile.figures)
    text = environment.get_template("page.html").render(
        info=info,
        findings=profile.findings,
        reading=figures.pop("reading"),
        figures=figures,
        balance=_balance(profile),
        histograms=profile.histograms,
        thumbnails=profile.thumbnails,
        settings=recipe.sections.get("data", {}),
    )
    path.write_text(text, encoding="utf-8")


def _balance(profile: Profile) -> list[dict[str, Any]]:
    """Returns one row a class, largest in train first: counts and width of the bar in percent."""
    counts = profile.class_counts
    ordered = sorted(counts["train"], key=lambda name: -counts["train"][name])
    if len(ordered) > _BARS:
        ordered = ordered[: _BARS // 2] + ordered[-_BARS // 2 :]
    largest = max(1, *counts["train"].values())
    return [
        {
            "class": name,
            "counts": {split: held[name] for split, held in counts.items()},
            "width": 100 * counts["train"][name] / largest,
        }
        for name in ordered
    ]


def _words(name: str) -> str:
    """Returns `label_entropy_bits` as `Label entropy (bits)`."""
    text = re.sub(r"_(bits_per_pixel|bits|kbit)$", lambda unit: f" ({unit[1]})", name)
    return text.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    """Returns a number with separators, a list joined, a text as it is."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
