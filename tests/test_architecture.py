"""The rules of the design that hold for every file: who imports whom, how long, what is there."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "kfp_vision"
SOURCES = sorted(
    path.relative_to(ROOT)
    for part in ("components", "pipelines")
    for path in (ROOT / part).rglob("*.py")
)
STAGES = sorted(
    path.name
    for path in (ROOT / "components").iterdir()
    if path.is_dir() and path.name not in ("shared", "__pycache__")
)
# Of the extras, which need not be installed.
OPTIONAL = {"tensorflow_datasets", "model_registry", "mr_openapi"}
KFP_FILES = {"component.py", "container_images.py"}


def imported_modules(path: Path, *, top_level_only: bool = False) -> list[str]:
    """Returns the modules that a file imports; `from a import b` counts as `a.b`."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def modules_of(files: list[Path]) -> list[object]:
    return [pytest.param(path, id=path.as_posix()) for path in files]


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[2] if parts[:2] == [PACKAGE, "components"] and parts[2] in STAGES else None


@pytest.mark.parametrize("path", modules_of([p for p in SOURCES if p.parts[0] == "components"]))
def test_no_stage_imports_another(path):
    stages = {stage_of(module) for module in imported_modules(path)} - {None}
    assert stages <= {path.parts[1]}


@pytest.mark.parametrize("path", modules_of([p for p in SOURCES if p.parts[0] == "components"]))
def test_components_know_nothing_of_pipelines_and_algorithms_nothing_of_kfp(path):
    roots = {".".join(module.split(".")[:2]) for module in imported_modules(path)}
    assert f"{PACKAGE}.pipelines" not in roots
    if path.name not in KFP_FILES:
        assert "kfp" not in {root.split(".")[0] for root in roots}
        assert f"{PACKAGE}.components.shared.runtime.container_images" not in imported_modules(path)


@pytest.mark.parametrize("path", modules_of([p for p in SOURCES if p.parts[0] == "pipelines"]))
def test_pipelines_meet_stages_through_component_files_only(path):
    of_stages = [module for module in imported_modules(path) if stage_of(module)]
    assert all(module.split(".")[3] == "component" for module in of_stages)


@pytest.mark.parametrize("path", modules_of([p for p in SOURCES if p.name == "component.py"]))
def test_component_files_import_their_verb_inside_the_task(path):
    allowed = (
        f"{PACKAGE}.components.shared.runtime.container_images",
        "kfp",
        "functools",
        "typing",
    )
    assert all(m.startswith(allowed) for m in imported_modules(path, top_level_only=True))


@pytest.mark.parametrize("path", modules_of([p for p in SOURCES if p.name == "component.py"]))
def test_component_files_are_thin(path):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= max(80, 60 * lines.count("@component"))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_method_card(stage):
    card = (ROOT / "components" / stage / "README.md").read_text(encoding="utf-8")
    assert len(card.splitlines()) <= 80
    for section in (
        "What it does",
        "Inputs and outputs",
        "Parameters",
        "How it works",
        "Cost",
        "When not to use it",
        "References",
    ):
        assert f"## {section}" in card


@pytest.mark.parametrize("path", modules_of(SOURCES))
def test_a_file_is_imported_by_its_path(path):
    spec = find_spec(".".join((PACKAGE, *path.with_suffix("").parts)).removesuffix(".__init__"))
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).resolve() == (ROOT / path).resolve()


@pytest.mark.parametrize("path", modules_of(SOURCES))
def test_nothing_is_unpickled(path):
    modules = imported_modules(path)
    text = (ROOT / path).read_text(encoding="utf-8")
    assert "allow_pickle=True" not in text
    assert not {module.split(".")[0] for module in modules} & {"cloudpickle", "dill", "joblib"}
    # A parser that refuses every class but a short list may build on `pickle.Unpickler`.
    assert "pickle" not in modules or "def find_class" in text


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-")
        for requirement in [*project["dependencies"], *extras["tfds"], *extras["tracking"]]
    }
    distributions = packages_distributions()
    imported = {module.split(".")[0] for path in SOURCES for module in imported_modules(path)}
    for module in imported - set(sys.stdlib_module_names) - {PACKAGE, *OPTIONAL}:
        names = {name.lower().replace("_", "-") for name in distributions[module]}
        assert names & declared, f"{module} comes from {names}"


def test_test_modules_have_names_of_their_own():
    """Pytest imports them by their file name: two of one name end the whole run."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.stem != "conftest"]
    assert not {name for name in names if names.count(name) > 1}
