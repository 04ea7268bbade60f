"""Whole runs on a growing folder of real digits: the first champion, the same again, new images."""

import json
import shutil

import pytest

from kfp_vision.components.shared.champions.store import (
    fetch_known_images,
    read_champions,
    read_lineage,
)

pytestmark = pytest.mark.slow

# Tasks that read what is behind `champion_uri`, those after them, and what is never cached.
AGAIN = {"list-sources", "evaluate-model", "export-model", "build-report", "publish", "check-model"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits_folder):
    """A folder with two thirds of the digits."""
    root = tmp_path_factory.mktemp("generations")
    for source in sorted(digits_folder.rglob("*.png")):
        if int(source.stem) < 1200:
            target = root / "digits" / source.relative_to(digits_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return root


@pytest.fixture(scope="module")
def run(place, kfp_vision, small_model):
    """Runs the pipeline; returns what was printed, the report and the stages that were done."""

    def once(*options):
        answer = kfp_vision(
            *("run", "--dataset-uri", place / "digits", "--output", place / "out"),
            *("--champion-uri", place / "champions", "--architecture", small_model),
            *("--epochs", 12, "--preset", "fast"),
            *("--no-search-augmentation", "--no-learn-batch-size", *options),
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        report, record = (
            json.loads((place / "out" / name).read_text()) for name in ("report.json", "run.json")
        )
        done = {each["name"] for each in record["stages"] if each["outcome"] == "done"}
        return answer.stdout, report, done

    return once


def test_generations(run, place, digits_folder):
    uri = str(place / "champions")
    said, report, _ = run()
    first = report["champion"]["version"]
    assert report["champion"]["decision"] == "first"
    assert read_champions(uri).champion == first
    assert f"Champion {uri}/versions/{first}: The model is the first champion." in said
    assert len(fetch_known_images(uri, first)) == sum(report["dataset"]["splits"].values())

    said, report, done = run()
    assert report["champion"]["decision"] == "same"
    assert done <= AGAIN
    assert f"Champion {first}: The model is the champion {first}" in said
    _, _, done = run()
    # Nothing at all has changed.
    assert done <= {"list-sources", "publish"}
    assert len(read_champions(uri).history) == 1

    tested = report["dataset"]["splits"]["test"]
    shutil.copytree(digits_folder, place / "digits", dirs_exist_ok=True)
    said, report, _ = run("--champion-rule", "better", "--seed", 1)
    held = report["champion"]
    parts = {each["name"]: each["num_images"] for each in held["parts"]}
    assert parts["frozen"] == tested
    assert parts["newest"] > 30
    assert parts["all"] == parts["frozen"] + parts["newest"] == report["dataset"]["splits"]["test"]
    assert held["left_out"] == 0
    # With half as many images again the model may be clearly better, or not: the rule says so.
    champions, second = read_champions(uri), held["version"]
    assert champions.champion == (second if held["promotes"] else first)
    entry = champions.last_entry(second)
    assert entry
    assert entry.reason == held["sentence"]
    assert held["promotes"] == (held["parts"][0]["difference"]["ci95"][0] > 0)
    kind = "Champion" if held["promotes"] else "Challenger"
    assert f"{kind} {uri}/versions/{second}: {held['sentence']}" in said
    lineage = read_lineage(uri, second)
    assert lineage.split_version == first
    assert lineage.dataset["fingerprint"] == report["dataset"]["fingerprint"]
    known, before = (fetch_known_images(uri, version) for version in (second, first))
    assert len(known) == sum(report["dataset"]["splits"].values())
    kept = known.splits_of(before.table["source_sha256"]).tolist()
    assert kept == before.table["split"].to_pylist()
    page = (place / "out/report.html").read_text()
    assert "Frozen test set" in page
    assert second in page
