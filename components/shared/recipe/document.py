"""The recipe: everything a run has learned, with the provenance of every value.

A recipe is sections of named settings, `recipe.sections["training"]["batch_size"]`. Each stage
reads it, adds its own section and writes it on; `recipe.json` is the file form.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.runtime.storage import open_folder

__all__ = [
    "Recipe",
    "Setting",
    "Source",
    "fetch_recipe",
    "named_architecture",
    "read_recipe",
    "write_recipe",
]

Source = Literal["learned", "rule", "default", "user"]
_FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value with where it comes from.

    Attributes:
        value: A JSON value.
        method: How it was found, in words a reviewer understands.
        evidence: The numbers behind it; intervals as `[low, high]`.
        source: `learned` by a measurement, by a `rule` for this network and these images,
            `default` of kfp-vision, or set by the `user`.
        context: Of a value that was learned or follows a rule: what it holds for, see
            `shared/recipe/context.py`; empty where that is not known.
    """

    value: Any
    method: str
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source: Source = "learned"
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a source that is not one of these, and a context that is not a mapping."""
        if self.source not in get_args(Source):
            raise ValueError(f"`source` must be one of {get_args(Source)}. Received: {self.source}")
        if not isinstance(self.context, Mapping):
            raise TypeError(f"`context` must be names and values. Received: {self.context!r}")

    @property
    def is_for_context(self) -> bool:
        """Whether it was found for what `context` says, and may be used for nothing else."""
        return self.source in ("learned", "rule")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sections of settings; immutable, so that a stage can only hand on a new one."""

    sections: Mapping[str, Mapping[str, Setting]] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )

    def get(self, section: str, name: str) -> Setting | None:
        """Returns the setting, or None when no stage and no user has set it."""
        return self.sections.get(section, {}).get(name)

    def value(self, section: str, name: str) -> Any:
        """Returns the value of a setting.

        Raises:
            KeyError: The setting is absent.
        """
        setting = self.get(section, name)
        if setting is None:
            raise KeyError(
                f"The recipe must hold `{section}.{name}`. Received sections: "
                f"{ {key: sorted(value) for key, value in self.sections.items()} }"
            )
        return setting.value

    def with_settings(self, section: str, settings: Mapping[str, Setting]) -> "Recipe":
        """Returns a recipe with `settings` added to a section; what a user has set stays."""
        current = dict(self.sections.get(section, {}))
        for name, setting in settings.items():
            held = current.get(name)
            if held is None or held.source != "user" or setting.source == "user":
                current[name] = setting
        return Recipe({**self.sections, section: current})


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Writes a recipe as indented JSON, so that two recipes can be compared in a pull request.

    Raises:
        ValueError: A setting holds a NaN or infinity; names it.
    """
    sections = {
        section: {name: _fields(setting) for name, setting in settings.items()}
        for section, settings in recipe.sections.items()
    }
    write_json({"recipe_version": _FORMAT_VERSION, "sections": sections}, path)


def _refuse(constant: str) -> None:
    raise TypeError(f"numbers must be finite, not {constant}")


def _fields(setting: Setting) -> dict[str, Any]:
    fields = dataclasses.asdict(setting)
    if not setting.context:
        del fields["context"]
    return fields


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ValueError: The file is not a recipe, or one of another version.
    """
    return _parse_recipe(path.read_bytes(), str(path))


def fetch_recipe(uri: str) -> Recipe:
    """Reads the recipe that a user names; local, gs:// or s3://.

    Raises:
        ValueError: The URI names a folder, or a file that is not a recipe of this version.
        StorageError: There is nothing at `uri`, or it cannot be reached.
    """
    folder, name = open_folder(uri)
    if not name:
        inside = f"{folder.uri}/recipe.json"
        hint = f"It holds one: {inside}" if folder.exists("recipe.json") else "It holds no recipe."
        raise ValueError(f"`recipe_uri` must be a recipe.json. Received: {uri}, a folder. {hint}")
    return _parse_recipe(folder.read(name), uri)


def named_architecture(architecture: str, recipe_uri: str) -> str:
    """Returns the architecture that a run may build: the user's, else that of the recipe.

    Args:
        architecture: A name of the zoo, `auto`, or the URI of a model file.
        recipe_uri: Of the recipe that the run starts from; empty for none.

    Raises:
        ValueError, StorageError: As of `fetch_recipe`.
    """
    if architecture != "auto" or not recipe_uri:
        return architecture
    setting = fetch_recipe(recipe_uri).get("model", "architecture")
    return architecture if setting is None else str(setting.value)


def _parse_recipe(text: bytes, source: str) -> Recipe:
    try:
        content = json.loads(text, parse_constant=_refuse)
        if "recipe_version" not in content or "sections" not in content:
            raise KeyError(f"it holds {', '.join(map(str, content)) or 'nothing'}"[:200])
        version, sections = content["recipe_version"], content["sections"]
        settings = {
            section: {name: Setting(**fields) for name, fields in entries.items()}
            for section, entries in sections.items()
        }
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise ValueError(
            'A recipe is JSON: {"recipe_version": 1, "sections": {section: {name: {"value", '
            f'"method", "evidence", "source"}}}}}}. Received: {source} ({reason}). '
            "A run leaves one in its output folder: recipe.json."
        ) from error
    if version != _FORMAT_VERSION:
        raise ValueError(
            f"`recipe_version` must be {_FORMAT_VERSION}. Received: {version} ({source})"
        )
    return Recipe(settings)
