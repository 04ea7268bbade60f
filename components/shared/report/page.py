"""A page of sections in one HTML file: a report, or what is known before there is one.

Class names, paths and messages are untrusted: Jinja escapes all of them, and the page's own policy
(CSP) allows no script but `page.js`, by its hash, and no connection at all.
"""

import base64
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from kfp_vision.components.shared.artifacts.json_files import json_text, read_json
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe
from kfp_vision.components.shared.report import figures
from kfp_vision.components.shared.report.policy_words import policy_words
from kfp_vision.components.shared.report.records import (
    STAGE_REPORT_FILE,
    Section,
    StageReport,
)

__all__ = ["RECIPE", "dataset_name", "render_page", "write_stage_page"]

_FOLDER = Path(__file__).parent
# Templates are named by their path below it.
_COMPONENTS = _FOLDER.parents[1]
# All functions of `figures.py`: a template formats nothing itself.
_FILTERS = tuple(name for name in figures.__all__ if name.islower())
RECIPE = Section("recipe", "Recipe", "shared/report/recipe.html")


def dataset_name(report: Mapping[str, Any]) -> str:
    """Returns the last part of the URI of the dataset."""
    return str(report["dataset"]["uri"]).rstrip("/").rsplit("/", 1)[-1] or "dataset"


def render_page(
    title: str, report: Mapping[str, Any], recipe: Recipe, sections: Sequence[Section]
) -> str:
    """Returns the HTML of a page.

    Args:
        title: Of the window.
        report: The contents of `report.json`, as far as they are known.
        recipe: As it is now.
        sections: In their order; their templates see `report`, `recipe` (section -> name ->
            setting) and their own `data`.
    """
    environment = _environment()
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    settings = {
        section: {name: dataclasses.asdict(setting) for name, setting in held.items()}
        for section, held in recipe.sections.items()
    }
    bodies = [
        environment.get_template(section.template).render(
            report=report, recipe=settings, data=json.loads(json_text(section.data))
        )
        for section in sections
    ]
    return environment.get_template("shared/report/page.html").render(
        title=title,
        sections=sections,
        bodies=bodies,
        version=importlib.metadata.version("kfp-vision"),
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        policy=_policy(script),
    )


def write_stage_page(folder: Path, page: Path) -> None:
    """Writes what a stage tells the report as a page, which a server shows before there is one.

    Args:
        folder: Artifact of the stage, with its report and the recipe.
        page: The file.
    """
    report = read_json(StageReport, folder / STAGE_REPORT_FILE)
    title = f"{report.sections[0].title}: kfp-vision" if report.sections else "kfp-vision"
    recipe = read_recipe(folder / "recipe.json")
    html = render_page(title, report.summary, recipe, [*report.sections, RECIPE])
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_COMPONENTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(figures, name) for name in _FILTERS})
    environment.filters["policy_words"] = policy_words
    return environment


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = ("img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join(["default-src 'none'", *sources])
