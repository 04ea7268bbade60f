"""The Python interface: the same runs, results and messages as on the command line."""

import inspect
import json
import subprocess
import sys

import pytest

import kfp_vision

pytestmark = pytest.mark.long

_SCRIPT = """
import kfp_vision
parameters = PARAMETERS
found = kfp_vision.inspect(parameters["dataset_uri"])
found.show()
run = kfp_vision.train(**parameters, quiet=True)
print(run.status, run.output_uri)
"""


def test_the_import_loads_nothing_heavy():
    code = (
        "import sys, kfp_vision;"
        "sys.exit(bool({'tensorflow', 'keras', 'kfp', 'numpy', 'typer'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_name_exists_and_no_other():
    assert dir(kfp_vision) == sorted(kfp_vision.__all__)
    for name in kfp_vision.__all__:
        assert getattr(kfp_vision, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        kfp_vision.fit  # noqa: B018 - the attribute is what is tested.


def test_the_signature_names_every_parameter():
    taken = inspect.signature(kfp_vision.train).parameters
    assert taken["epochs"].default == 0
    assert taken["epochs"].annotation is int
    assert "epochs: Passes over the training images" in (kfp_vision.train.__doc__ or "")
    assert "epochs" not in inspect.signature(kfp_vision.inspect).parameters


def test_a_plain_script_inspects_and_trains_as_the_command_does(
    tmp_path, finished_run, run_arguments
):
    """Its run is that of the command line, down to the keys of the cache."""
    given = (*run_arguments, "--output-uri", finished_run)
    parameters = {
        name.removeprefix("--").replace("-", "_"): value if isinstance(value, int) else str(value)
        for name, value in zip(given[::2], given[1::2], strict=True)
    }
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.replace("PARAMETERS", repr(parameters)))
    answer = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].endswith(": multiclass, 10 classes, class_folders")
    assert lines[-2:] == ["This dataset can be trained.", f"passed {finished_run}"]
    stages = json.loads((finished_run / "run.json").read_text())["stages"]
    done = [stage["name"] for stage in stages if stage["outcome"] != "cached"]
    assert done == ["list-sources", "publish"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda photos: kfp_vision.train(photos, epoch=3), "Did you mean epochs"),
        (lambda photos: kfp_vision.train(photos, epochs=-3), "`epochs` must not be negative"),
        (lambda photos: kfp_vision.train(photos, photos / "out"), "must not lie in the dataset"),
        (lambda photos: kfp_vision.train(photos, accept_findings="leak"), "must be codes among"),
        (lambda photos: kfp_vision.inspect(photos, accept_findings="leak"), "must be codes among"),
        (lambda photos: kfp_vision.inspect(photos, epochs=3), "Received: 'epochs'"),
        (kfp_vision.load, "must be the output of a run"),
        (kfp_vision.Model, "must be the output folder of a run"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    tmp_path, monkeypatch, call, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_failed_stage_is_an_exception_with_the_text_of_the_command(tmp_path, kfp_vision):
    (tmp_path / "empty").mkdir()
    with pytest.raises(sys.modules["kfp_vision"].RunFailedError) as failure:
        sys.modules["kfp_vision"].train(tmp_path / "empty", tmp_path / "out", quiet=True)
    answer = kfp_vision("run", "--dataset-uri", tmp_path / "empty", "--output", tmp_path / "out")
    assert answer.stdout.endswith(f"\n{failure.value}\n")
    assert str(failure.value).startswith("list-sources failed: ")
    assert sys.modules["kfp_vision"].load(tmp_path / "out").status == "failed"
