"""The recipe keeps what users have said and says where everything comes from."""

import json
from pathlib import Path

import pytest

from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    fetch_recipe,
    read_recipe,
    write_recipe,
)


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    setting = Setting(64, "noise scale", {"b_noise": 57.0, "ci95": [44.0, 80.0]}, "learned")
    recipe = Recipe().with_settings("training", {"batch_size": setting})
    write_recipe(recipe, tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json").sections["training"]["batch_size"] == setting


def test_a_context_survives_the_file_and_a_setting_without_one_has_none_in_it(
    tmp_path: Path,
) -> None:
    settings = {
        "batch_size": Setting(64, "measured", context={"data": "abc", "image_size": [8, 8]}),
        "epochs": Setting(3, "by hand", source="user"),
    }
    write_recipe(Recipe().with_settings("training", settings), tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json").sections["training"] == settings
    written = json.loads((tmp_path / "recipe.json").read_text())["sections"]["training"]
    assert "context" not in written["epochs"]


def test_a_stage_does_not_overrule_the_user() -> None:
    user = Setting(8, "by hand", source="user")
    recipe = Recipe().with_settings("training", {"batch_size": user})
    learned = recipe.with_settings("training", {"batch_size": Setting(64, "measured")})
    assert learned.get("training", "batch_size") == user
    again = recipe.with_settings("training", {"batch_size": Setting(9, "by hand", source="user")})
    assert again.value("training", "batch_size") == 9


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_written_and_its_place_is_named(
    value: float, tmp_path: Path
) -> None:
    evidence = {"interval": [0.1, value], "other": 1.0}
    recipe = Recipe().with_settings("training", {"learning_rate": Setting(0.1, "x", evidence)})
    place = rf"sections.training.learning_rate.evidence.interval\[1\] = {value}"
    with pytest.raises(ValueError, match=f"null. Received: {place}$"):
        write_recipe(recipe, tmp_path / "recipe.json")
    assert not (tmp_path / "recipe.json").exists()
    # As one that an earlier version has written.
    text = json.dumps({"recipe_version": 1, "sections": {"a": {"b": {"value": value}}}})
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match="A recipe is JSON.*must be finite"):
        read_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"recipe_version": 1}',
        '{"recipe_version": 1, "sections": {"a": {"b": 1}}}',
        '{"recipe_version": 1, "sections": {"a": {"b": {"value": 1, "method": "", "context": 3}}}}',
    ],
)
def test_what_is_no_recipe_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="A recipe is JSON"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "must be a recipe.json. Received: .*, a folder. It holds one: .*/recipe.json"),
        ("logs", "must be a recipe.json. Received: .*, a folder. It holds no recipe."),
        ("report.json", r"Received: .*report.json \(it holds task, status\)"),
        ("list.json", r"Received: .*list.json"),
        ("number.json", r"Received: .*number.json"),
        ("model.keras", r"Received: .*model.keras"),
        ("gone.json", "Cannot reach '.*gone.json'"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_recipe_uri_that_names_something_else(
    tmp_path: Path, prefix: str, name: str, message: str
) -> None:
    (tmp_path / "logs").mkdir()
    write_recipe(Recipe(), tmp_path / "recipe.json")
    (tmp_path / "report.json").write_text('{"task": "binary", "status": "passed"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "number.json").write_text("5")
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04\xff\xfe")
    assert fetch_recipe(f"{prefix}{tmp_path / 'recipe.json'}") == Recipe()
    with pytest.raises((ValueError, OSError), match=message):
        fetch_recipe(f"{prefix}{tmp_path / name}")


def test_other_versions_and_sources_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe_version": 2, "sections": {}}))
    with pytest.raises(ValueError, match="`recipe_version` must be 1"):
        read_recipe(path)
    with pytest.raises(ValueError, match="`source` must be one of"):
        Setting(1, "x", source="guess")  # type: ignore[arg-type]
