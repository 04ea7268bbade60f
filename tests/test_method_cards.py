"""What the method cards name exists: links, modules, commands, options and pipeline parameters."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from kfp_vision.components.data_profiling.findings import RULES
from kfp_vision.pipelines.parameters import Parameters

ROOT = Path(__file__).parent.parent
CARDS = sorted(path.relative_to(ROOT) for path in (ROOT / "components").rglob("README.md"))
MODULES = {
    path.name
    for part in ("components", "pipelines", "tests")
    for path in (ROOT / part).rglob("*.py")
}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BENCHMARKS = {path.name: path.read_text() for path in (ROOT / "tests/benchmarks").glob("*.py")}
PARAMETERS = {field.name for field in dataclasses.fields(Parameters)}


def card(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("path", CARDS, ids=str)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#\s]+)\)", card(path)):
        assert "://" in link or ((ROOT / path).parent / link).exists(), link


@pytest.mark.parametrize("path", CARDS, ids=str)
def test_modules_exist(path):
    named = [word for part in code(card(path)) for word in part.split() if word.endswith(".py")]
    for word in named:
        assert (ROOT / word).exists() or Path(word).name in MODULES, word


@pytest.mark.parametrize("path", CARDS, ids=str)
def test_make_targets_exist(path):
    for target in re.findall(r"`make ([a-z_-]+)", card(path)):
        benchmark = ROOT / f"tests/benchmarks/bench_{target.removeprefix('bench-')}.py"
        is_benchmark = target.startswith("bench-") and benchmark.exists()
        assert is_benchmark or re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("path", CARDS, ids=str)
def test_options_and_their_benchmarks_exist(path):
    for part in code(card(path)):
        scripts = [BENCHMARKS[name] for name in re.findall(r"bench_\w+\.py", part)]
        for option in re.findall(r"--[a-z][a-z-]*", part):
            name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
            declared = [text for text in scripts or BENCHMARKS.values() if f'"{option}"' in text]
            assert declared or (name in PARAMETERS and not scripts), f"{option} in {part}"


def rejection_codes() -> set[str]:
    """Returns the codes that are written where images are rejected."""
    found = set()
    for path in (ROOT / "components").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            place = {"Rejection": 1, "UnreadableImageError": 0}.get(node.func.id)
            if place is not None:
                constants = ast.walk(node.args[place])
                values = [each.value for each in constants if isinstance(each, ast.Constant)]
                found |= {value for value in values if isinstance(value, str)}
    return found


def test_the_cards_name_every_code():
    imported, profiled = (
        set(code(card(Path("components", stage, "README.md"))))
        for stage in ("data_import", "data_profiling")
    )
    assert len(rejection_codes()) > 15
    assert rejection_codes() <= imported
    assert set(RULES) <= profiled
