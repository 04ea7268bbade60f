"""What the README says is true: its code runs, its commands end well, its names exist."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import kfp_vision
from kfp_vision.components.shared.architectures.check import check_architecture
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, build_model
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.sanity import check_one_batch, describe_check
from kfp_vision.components.shared.training.trainer import Trainer
from kfp_vision.pipelines.cli import app

_ROOT = Path(__file__).parents[2]
README = (_ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Your own architecture")[1].split("\n## ")[0]
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)

# Commands that talk to a Kubeflow Pipelines server.
ON_A_SERVER = ("submit", "status", "cancel", "fetch")


def save_example() -> None:
    """Runs the README's code, which saves mine.keras in the current folder."""
    exec(EXAMPLE, {"keras": keras})


def commands() -> list[str]:
    """Returns the commands of kfp-vision in all code of the README, without comments."""
    code = re.findall(r"```.*?```|`[^`\n]+`", README, re.DOTALL)
    lines = [line for part in code for line in part.strip("`").splitlines()]
    found = [line[line.find("kfp-vision ") :] for line in lines if "kfp-vision " in line]
    return [line.split("  #")[0].split("    ")[0].strip() for line in found]


def test_its_example_learns_with_every_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_example()
    check_architecture("mine.keras", 0)
    digits = load_digits()
    rows = np.flatnonzero((digits.target == 3) | (digits.target == 8))[:64]
    images = np.kron(digits.images[rows] * 15, np.ones((8, 8))).astype(np.uint8)[..., None]
    images = np.repeat(images, 3, axis=-1)
    targets = {"label": (digits.target[rows] == 8).astype(np.int32)}
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
    keras.utils.set_random_seed(0)
    model = build_model("mine.keras", get_task("binary"), (64, 64, 3), 2, dropout=settings.dropout)
    trainer = Trainer(model, get_task("binary"), settings)
    checks = check_one_batch(trainer, images, targets, settings.learning_rate, np.log(2))
    assert checks["overfit_loss"] < 0.95 * checks["initial_loss"]
    assert not any("frozen" in warning for warning in describe_check(trainer, checks))


def test_its_networks_are_those_of_the_zoo():
    listed = re.findall(r"`([a-z0-9_]+)`", SECTION.split("(`separable`")[1].split(";")[0])
    pretrained = [f"{name}_imagenet" for name in listed[-8:]]
    assert sorted(["separable", *listed, *pretrained, "squeezenet_imagenet"]) == sorted(
        ARCHITECTURES
    )


def test_its_python_uses_what_there_is():
    (code,) = re.findall(r"```python\n(.*?)```", README.split("## From Python")[1], re.DOTALL)[:1]
    compile(code, "README.md", "exec")
    assert set(re.findall(r"kfp_vision\.(\w+)", code)) <= set(kfp_vision.__all__)
    for name in re.findall(r"\brun\.(\w+)", code):
        assert hasattr(kfp_vision.Run, name) or name in inspect.signature(kfp_vision.Run).parameters


def test_no_line_is_longer_than_120_columns():
    assert [line for line in README.splitlines() if len(line) > 120] == []


def test_its_make_targets_and_extras_exist():
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        name
        for line in re.findall(r"\bmake ((?:[a-z][a-z-]* ?)+)", README)
        for name in line.split()
    }
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"run", "test", "test-all", "lint", "types", "bench", "install"} <= named & targets
    extras = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"kfp-vision\[(\w+)\]", README):
        assert extra in extras["optional-dependencies"]


def test_its_commands_for_a_server_are_understood():
    group = typer.main.get_group(app)
    lines = [shlex.split(line, comments=True) for line in commands()]
    lines = [words for words in lines if words[1] in ON_A_SERVER]
    assert {words[1] for words in lines} == {"submit", "status", "fetch"}
    for _, name, *arguments in lines:
        group.commands[name].make_context(name, arguments)


def test_its_stages_and_links_exist():
    named = re.findall(r"^\[\w+\]: (\S+)", README, re.MULTILINE)
    assert len(named) >= 8
    for link in [*re.findall(r"\]\(([^)#]+)\)", README), *named]:
        assert (_ROOT / link).exists(), link


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, digits_folder) -> Path:
    """A folder with `photos/` of three classes, `new/` and the README's model."""
    folder = tmp_path_factory.mktemp("readme")
    for label in range(3):
        name = f"digit {label}"
        shutil.copytree(digits_folder / name, folder / "photos" / name)
    (folder / "new").mkdir()
    for number, path in enumerate(sorted((folder / "photos" / "digit 0").iterdir())[:3]):
        Image.open(path).save(folder / "new" / f"{number}.jpg")
    return folder


def run_in(folder: Path, line: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs a command line of the README by a shell, as it stands there."""
    line = line.replace("kfp-vision", command[0], 1)
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)


def stages_of(output: Path) -> dict[str, str]:
    run = json.loads((output / "run.json").read_text())
    return {stage["name"]: stage["outcome"] for stage in run["stages"]}


@pytest.mark.slow
def test_its_commands_work_one_after_the_other(workspace, command, monkeypatch):
    monkeypatch.chdir(workspace)
    save_example()
    ran = []
    for line in commands():
        if line.split()[1] in ON_A_SERVER:
            continue
        full = line.replace("...", "--dataset-uri photos --output out/own")
        answer = run_in(workspace, full, command)
        # A small set may end in a rejection, which the exit code says: not in a failure.
        told = answer.stdout + answer.stderr
        assert answer.returncode == 0 or "rejected: " in told, f"{full}\n{told}"
        ran.append(line.split()[1])
        if ran[-1] == "init":
            params = workspace / "params.yaml"
            content = yaml.safe_load(params.read_text())
            content |= {"dataset_uri": "photos", "output_uri": "out/params"}
            params.write_text(yaml.safe_dump(content))
    assert set(ran) >= {"run", "predict", "init", "compile"}
    assert ran.count("run") >= 4
    again = run_in(workspace, "kfp-vision run --dataset-uri photos/ --output out/photos", command)
    assert "train-model          from the cache" in again.stdout
    recipe = (
        "kfp-vision run --dataset-uri photos --output out/again --recipe-uri out/photos/recipe.json"
    )
    assert run_in(workspace, recipe, command).returncode == 0
    assert (workspace / "out/own/model/model.onnx").exists()
