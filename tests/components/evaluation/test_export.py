"""export_model on real digits: every file is read back by its own library, outside our code."""

import dataclasses
import json
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from kfp_vision.components.evaluation import export as module
from kfp_vision.components.evaluation.calibration_images import calibration_rows
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.evaluation.formats import FORMATS
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard

pytestmark = pytest.mark.long

NAMES = ["keras", "saved_model", "onnx", "tflite", "tflite_int8"]


@pytest.fixture(scope="module")
def exported(evaluated, tmp_path_factory, phases):
    trained, _, evaluation_dir = evaluated
    folder = tmp_path_factory.mktemp("exports")
    with phases.heard("export"):
        exports = export_model(trained.dataset_dir, evaluation_dir, folder, ExportConfig())
    return trained, exports, folder


@pytest.mark.usefixtures("exported")
def test_every_format_is_named_while_it_is_written_and_checked(phases):
    for name in NAMES:
        assert {f"{verb} {name}" for verb in ("write", "check", "time")} <= phases.of["export"]


@pytest.mark.parametrize(
    ("side", "number"), [(28, 300), (91, 300), (224, 50), (448, 12), (4000, 1)]
)
def test_int8_is_calibrated_on_fewer_large_images_than_small_ones(side, number):
    rows = calibration_rows(5000, side**2)
    assert len(set(rows.tolist())) == number
    # Those that were handed on.
    assert set(rows.tolist()) <= set(calibration_rows(5000).tolist())


def test_all_formats_pass(exported):
    _, exports, folder = exported
    assert [export.format for export in exports] == NAMES
    assert [export.reason for export in exports] == [""] * 5
    written = json.loads((folder / "exports.json").read_text())
    assert written["exports"] == [dataclasses.asdict(export) for export in exports]


def test_float_formats_compute_what_keras_computes(exported):
    _, exports, _ = exported
    for export in exports[:4]:
        assert export.max_abs_difference < 1e-5, export.format
    assert exports[4].max_abs_difference < 0.2


def test_int8_is_int8_inside(exported):
    trained, exports, folder = exported
    interpreter = Interpreter(str(folder / "model_int8.tflite"))
    kinds = [detail["dtype"] for detail in interpreter.get_tensor_details()]
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8
    # The last layer: what it reads, its weights and bias, logits, probabilities.
    assert kinds.count(np.float32) == 5
    assert kinds.count(np.int8) > 5
    assert exports[4].size_bytes < exports[3].size_bytes * 1.5
    assert trained.task


def test_batch_is_free_in_every_runtime(exported):
    trained, _, folder = exported
    images = trained.images[:7].astype(np.float32)
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for count in (1, 7):
        (from_onnx,) = session.run(["probabilities"], {"pixels": images[:count]})
        from_saved = loaded.serve(images[:count])["probabilities"]
        np.testing.assert_allclose(from_saved.numpy(), from_onnx, atol=1e-5)


def test_the_readme_says_how_to_predict(exported, monkeypatch):
    trained, exports, folder = exported
    page = (folder / "README.md").read_text()
    monkeypatch.chdir(folder)
    Image.fromarray(trained.images[0][..., 0]).save("image.png")
    said: dict[str, Any] = {}
    exec(page.split("```python")[1].split("```")[0], said)
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    expected = model(trained.images[:1].astype(np.float32))
    np.testing.assert_allclose(said["outputs"]["probabilities"], expected, atol=1e-5)
    assert all(f"| `{export.path}` |" in page for export in exports)


def test_onnx_names_its_batch(exported):
    _, _, folder = exported
    graph = onnx.load(folder / "model.onnx").graph
    for value in (graph.input[0], graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_a_format_that_fails_is_a_failed_export_and_costs_no_other(evaluated, tmp_path):
    trained, _, evaluation_dir = evaluated
    # A folder where the file belongs: the converter works, writing does not.
    (tmp_path / "model.onnx").mkdir()
    exports = export_model(trained.dataset_dir, evaluation_dir, tmp_path, ExportConfig())
    assert [export.format for export in exports if not export.passed] == ["onnx"]
    failed = exports[NAMES.index("onnx")]
    assert "conversion.log" in failed.reason
    assert failed.metrics == {}
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_what_is_made_from_a_failed_format_names_it(evaluated, tmp_path):
    trained, _, evaluation_dir = evaluated
    (tmp_path / "saved_model").write_text("A file where the folder belongs.")
    exports = export_model(trained.dataset_dir, evaluation_dir, tmp_path, ExportConfig())
    reasons = {export.format: export.reason for export in exports if not export.passed}
    assert list(reasons) == ["saved_model", "tflite", "tflite_int8"]
    assert "SavedModel, which must have been written" in reasons["tflite"]
    assert not (tmp_path / "saved_model").exists()


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_a_file_that_computes_nan_is_a_failed_export(evaluated, tmp_path, monkeypatch):
    trained, _, evaluation_dir = evaluated

    def load(_):
        return lambda images: np.full((len(images), 2), np.nan, np.float32)

    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], open=load))
    exports = export_model(trained.dataset_dir, evaluation_dir, tmp_path, ExportConfig())
    assert ["must be finite" in export.reason for export in exports] == [
        name == "onnx" for name in NAMES
    ]


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_model_json_names_a_file_that_computes_something_else(evaluated, tmp_path, monkeypatch):
    trained, _, evaluation_dir = evaluated

    def load(_):
        return lambda images: np.full((len(images), 2), 0.5, np.float32)

    monkeypatch.setattr(
        module,
        "FORMATS",
        {
            "keras": FORMATS["keras"],
            "saved_model": FORMATS["saved_model"],
            "onnx": dataclasses.replace(FORMATS["onnx"], open=load),
        },
    )
    exports = export_model(trained.dataset_dir, evaluation_dir, tmp_path, ExportConfig())
    card = read_json(ModelCard, tmp_path / "model.json")
    assert card.failed == {"model.onnx": exports[2].reason}
    assert "differ" in exports[2].reason
    page = (tmp_path / "README.md").read_text()
    assert "`model.onnx`" in page
    assert "onnxruntime" not in page


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_rejected_model_is_not_exported(evaluated, tmp_path):
    trained, evaluation, _ = evaluated
    rejected = dataclasses.replace(evaluation, passed=False, reasons=["It is no good."])
    write_json(rejected, tmp_path / "evaluation.json")
    exports = export_model(trained.dataset_dir, tmp_path, tmp_path / "exports", ExportConfig())
    assert exports == []
    assert json.loads((tmp_path / "exports/exports.json").read_text()) == {
        "exports": [],
        "reason": "Not exported. It is no good.",
    }
    assert not (tmp_path / "exports/model.keras").exists()


@pytest.mark.parametrize(
    "wrong", [{"max_metric_loss": -0.1}, {"latency_calls": 0}, {"max_images": 0}], ids=str
)
def test_config_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="Received"):
        ExportConfig(**wrong)
