"""`inspect`: says what a run would understand of a dataset, and whether it could train."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

KEYS = {"task", "format", "classes", "splits", "rejected", "findings", "notes"}


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    """40 images of each of two classes, one that is broken, and one class of two images."""
    folder = tmp_path / "photos"
    for index in range(80):
        save(folder / f"class {index % 2}" / f"{index}.png", index)
    for index in range(2):
        save(folder / "rare" / f"{index}.png", 100 + index)
    (folder / "rare" / "broken.png").write_bytes(b"no image")
    return folder


def test_the_json_says_what_was_understood(photos, kfp_vision_here):
    answer = kfp_vision_here("inspect", photos, "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    found = json.loads(answer.stdout)
    assert found.keys() == KEYS
    assert (found["task"], found["format"]) == ("multiclass", "class_folders")
    assert found["classes"] == ["class 0", "class 1", "rare"]
    assert sum(found["splits"].values()) == 82
    assert set(found["splits"]) == {"train", "validation", "test"}
    assert found["rejected"] == {"not_an_image": 1}
    assert all(finding.keys() == {"code", "level", "count"} for finding in found["findings"])
    levels = {finding["code"]: finding["level"] for finding in found["findings"]}
    assert levels["unreadable_files"] == levels["few_images"] == "warn"
    assert all(isinstance(note, str) for note in found["notes"])


def test_the_table_is_for_people(photos, kfp_vision_here):
    answer = kfp_vision_here("inspect", photos)
    assert (answer.returncode, answer.stderr) == (0, "")
    for words in ("3 classes", "class_folders", "validation", "rare", "1 x not_an_image"):
        assert words in answer.stdout
    assert "Finding few_images (warn" in answer.stdout
    assert answer.stdout.rstrip().endswith("This dataset can be trained.")


def test_what_is_left_out_of_the_unlabelled_images_is_told_apart(photos, kfp_vision_here):
    save(photos / "more" / "0.png", 200)
    (photos / "more" / "broken.png").write_bytes(b"no image")
    answer = kfp_vision_here("inspect", photos, "--unlabeled-uri", photos / "more")
    assert "3 classes" in answer.stdout
    assert "Note: Left out of `unlabeled_uri`: 1 x not_an_image." in answer.stdout
    assert "rare/broken.png, broken.png of `unlabeled_uri` among them" in answer.stdout


def test_a_folder_without_a_readable_image_is_a_finding(photos, tmp_path, kfp_vision_here):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "broken.png").write_bytes(b"no image")
    output = tmp_path / "out"
    answer = kfp_vision_here(
        "inspect", photos, "--unlabeled-uri", tmp_path / "more", "--output", output
    )
    assert answer.returncode == 0
    assert "Finding no_unlabeled_images (warn, 1): `unlabeled_uri` holds no image" in answer.stdout
    assert "no_unlabeled_images" in (output / "profile.html").read_text()


@pytest.fixture
def leaking(photos):
    """The training images are the test images too."""
    source = photos.parent / "leaking"
    for split in ("train", "test"):
        for name in ("class 0", "class 1"):
            shutil.copytree(photos / name, source / split / name)
    return source


def test_what_stops_a_run_is_the_reason_and_all_else_is_still_said(leaking, kfp_vision_here):
    answer = kfp_vision_here("inspect", leaking, "--json")
    assert answer.returncode == 2
    found = json.loads(answer.stdout)
    assert {"code": "leakage_exact", "level": "fail", "count": 80} in found["findings"]
    assert found["splits"]["test"] == 80
    assert "leakage_exact" in answer.stderr
    assert "Examples:" not in answer.stderr
    assert "Traceback" not in answer.stderr
    assert kfp_vision_here("inspect", leaking, "--accept-findings", "leakage_exact").returncode == 0


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gone", "Cannot reach '.*gone'"),
        ("photos/rare", "Received: "),
        ("ftp://x/y", "Received: "),
    ],
)
def test_what_cannot_be_imported(photos, kfp_vision_here, uri, reason):
    uri = uri if ":" in uri else photos.parent / uri
    answer = kfp_vision_here("inspect", uri, "--json")
    assert answer.returncode == 2
    assert re.search(reason, answer.stderr)
    found = json.loads(answer.stdout)
    assert found.keys() == KEYS
    assert found["task"] is None
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [("--positive-class=rare", "must not be set"), ("--task=detection", "`task`.*detection")],
)
def test_what_no_image_can_make_right_is_refused_before_the_import(
    photos, kfp_vision_here, option, reason
):
    answer = kfp_vision_here("inspect", photos, "--json", option)
    assert answer.returncode == 2
    assert re.search(reason, answer.stderr)
    found = json.loads(answer.stdout)
    assert (found["classes"], found["rejected"]) == ([], {})


def test_what_is_chosen_does_not_make_it_list_the_source_again(photos):
    shutil.rmtree(photos / "rare")
    code = f"""
import sys
from kfp_vision.pipelines import cli

listed = []
sys.addaudithook(lambda event, given: event == "os.scandir" and listed.append(str(given[0])))
counts = []
for options in ([], ["--task=binary", "--positive-class=class 1"]):
    listed.clear()
    sys.argv = ["kfp-vision", "inspect", {str(photos)!r}, *options]
    cli.app(standalone_mode=False)
    counts.append(sum(path.rstrip("/").endswith("class 1") for path in listed))
sys.exit(not counts[0] == counts[1] > 0 and str(counts))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_results_are_kept_where_asked_and_nothing_else_is(
    leaking, tmp_path, kfp_vision_here, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    answer = kfp_vision_here("inspect", leaking, "--output", tmp_path / "out", "--json")
    assert answer.returncode == 2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"inspect.json", "profile.html", "rejected.parquet"}
    assert (tmp_path / "out" / "inspect.json").read_text() == answer.stdout
    assert f"Examples: {tmp_path / 'out'}/profile.html" in answer.stderr
    assert not list((tmp_path / "scratch").glob("kfp-vision-*"))
    refused = kfp_vision_here("inspect", leaking, "--output", leaking / "out")
    assert "must not lie in the dataset" in refused.stderr


def test_inspect_needs_no_tensorflow(photos):
    code = (
        "import sys; from kfp_vision.pipelines import cli;"
        f"sys.argv = ['kfp-vision', 'inspect', {str(photos)!r}, '--json', '--task=multiclass'];"
        "cli.app(standalone_mode=False);"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
