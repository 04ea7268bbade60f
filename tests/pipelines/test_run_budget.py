"""A run keeps to its minutes, whatever the user wants to train."""

import json

import pytest

MINUTES = 6


@pytest.mark.slow
def test_a_run_that_would_take_hours_ends_in_its_minutes(
    tmp_path, digits_folder, small_model, kfp_vision
):
    output = tmp_path / "out"
    answer = kfp_vision(
        *("run", "--dataset-uri", digits_folder, "--output", output),
        *("--architecture", small_model, "--epochs", 1_000_000, "--max-minutes", MINUTES),
    )
    assert f" of {MINUTES}" in answer.stdout.split("check-profile")[0]
    run = json.loads((output / "run.json").read_text())
    # What can be learned in the time is another question: a busy machine starts tasks for minutes.
    assert run["status"] in ("passed", "rejected")
    assert 0.5 * 60 * MINUTES < run["seconds"] < 1.1 * 60 * MINUTES
    report = json.loads((output / "report.json").read_text())
    assert any(f"{MINUTES} minutes shortened" in each["message"] for each in report["warnings"])
    stages = {stage["name"]: stage for stage in report["cost"]["stages"]}
    assert all(stages[name]["estimated_s"] > 0 for name in ("train", "evaluate_model"))
