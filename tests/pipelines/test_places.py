"""What a run writes lies beside its data, and what it starts from beside its output."""

import os
import re
import tempfile
from pathlib import Path

import pytest

from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.pipelines.arguments import Arguments
from kfp_vision.pipelines.local.run_record import check_output
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.places import check_apart, predictions_folder

GIVEN = {"dataset_uri": "photos", "output_uri": "out", "recipe_uri": "", "architecture": "auto"}


def arguments(root, changes):
    given = {**GIVEN, **changes}
    placed = {name for name, value in given.items() if value not in ("", "auto", "separable")}
    given |= {name: f"{root}/{given[name]}" for name in placed}
    return Arguments(**given)


@pytest.mark.parametrize("root", ["disk", "s3://team/a", "gs://team"])
@pytest.mark.parametrize(
    ("changes", "inner", "outer"),
    [
        ({"output_uri": "photos"}, "output_uri", "dataset_uri"),
        ({"output_uri": "photos/out/"}, "output_uri", "dataset_uri"),
        ({"champion_uri": "photos/champions"}, "champion_uri", "dataset_uri"),
        ({"checkpoint_uri": "photos/c"}, "checkpoint_uri", "dataset_uri"),
        ({"unlabeled_uri": "more", "output_uri": "more/out"}, "output_uri", "unlabeled_uri"),
        ({"unlabeled_uri": "m", "champion_uri": "m/c"}, "champion_uri", "unlabeled_uri"),
        ({"recipe_uri": "out/recipe.json"}, "recipe_uri", "output_uri"),
        ({"architecture": "out/model/model.keras"}, "architecture", "output_uri"),
    ],
)
def test_what_lies_in_another_is_refused_with_both_paths(tmp_path, root, changes, inner, outer):
    given = arguments(tmp_path if root == "disk" else root, changes)
    both = [f"{name}={getattr(given, name)}" for name in (outer, inner)]
    with pytest.raises(ValueError, match=f"must not lie in .*{re.escape(', '.join(both))}: "):
        check_apart(given)


@pytest.mark.parametrize("root", ["disk", "s3://team/a", "gs://team"])
@pytest.mark.parametrize(
    "changes",
    [
        {"output_uri": "photos-out", "champion_uri": "photos-out/champions"},
        {"checkpoint_uri": "out/checkpoints", "unlabeled_uri": "photos/more"},
        {"recipe_uri": "outer/recipe.json", "architecture": "separable"},
        {"dataset_uri": "out/photos", "recipe_uri": "recipe.json"},
    ],
)
def test_what_lies_beside_it_is_not(tmp_path, root, changes):
    check_apart(arguments(tmp_path if root == "disk" else root, changes))


def test_two_names_of_one_place_are_one_place(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    for name in ("link/out", "a/../photos/out"):
        with pytest.raises(ValueError, match="must not lie in the dataset"):
            check_apart(arguments(tmp_path, {"output_uri": name}))
    with pytest.raises(ValueError, match="must not lie in the dataset"):
        check_apart(Arguments("s3://team/photos", "minio://team/photos/out"))
    check_apart(Arguments("s3://team/photos", "gs://team/photos/out"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_an_output_that_must_not_be_written_is_refused():
    # Not below `tmp_path`, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        check_output(Parameters("s3://team/photos", f"{folder}/out"))
        os.seteuid(65534)
        try:
            with pytest.raises(ValueError, match=f"Received: {folder}/a/out; {folder} is not"):
                check_output(Parameters("s3://team/photos", f"{folder}/a/out"))
        finally:
            os.seteuid(0)


def test_files_of_the_user_are_not_replaced(tmp_path, kfp_vision_here):
    (tmp_path / "photos").mkdir()
    mine = tmp_path / "out/model/model.onnx"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    command = ["--dataset-uri", tmp_path / "photos", "--output", tmp_path / "out"]
    end = kfp_vision_here("run", *command)
    assert end.returncode == 2
    assert f"Received: {tmp_path}/out with model/model.onnx. Move them" in end.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


def test_a_run_is_refused_that_starts_from_its_own_results(tmp_path, kfp_vision_here):
    for name in ("photos", "out"):
        (tmp_path / name).mkdir()
    network = {"architecture": Setting(str(tmp_path / "out/model.keras"), "by hand", source="user")}
    for recipe, named in (("out/first.json", "recipe_uri"), ("own.json", "architecture")):
        write_recipe(Recipe({"model": network}), tmp_path / recipe)
        command = ["--dataset-uri", tmp_path / "photos", "--output", tmp_path / "out"]
        end = kfp_vision_here("run", *command, "--recipe-uri", tmp_path / recipe)
        assert end.returncode == 2
        assert f", {named}={tmp_path}/out/" in end.stderr
        assert not (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize(
    ("images", "output", "rule"),
    [
        ("photos", "photos", "The output must not lie in the images"),
        ("photos", "photos/found", "The output must not lie in the images"),
        ("photos", "link/found", "The output must not lie in the images"),
        ("found/pictures", "found", "The images must not lie in the output"),
        ("photos/a.png", "photos", "The images must not lie in the output"),
    ],
)
def test_predictions_and_their_images_lie_apart(tmp_path, monkeypatch, images, output, rule):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{rule}. Received: .*={images}.*: .*beside"):
        predictions_folder(output, ["others", images])
    assert predictions_folder("photos-found", ["others", images]) == tmp_path / "photos-found"
    with pytest.raises(ValueError, match="`output` must be on this machine"):
        predictions_folder("s3://team/found", [images])
