"""`predict`: which files it reads, what it says of each, and how it ends.

The model is a formula: the probability of `light` is the mean of the pixels over 255.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from kfp_vision.components.shared.runtime.storage import StorageError, upload
from kfp_vision.pipelines.serving.predict import Model
from kfp_vision.pipelines.serving.prediction_files import write_table

TRUNCATED = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\0\0\0\0\xe1d\xe1W\0\0\0\x1eIDATx\x9c"
)
LIGHT = 204  # Of 255: a probability of 0.8.


def write_model(folder):
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 8, 8, 1])
    result = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2], np.int64),
        "scale": np.array([[-1 / 255, 1 / 255]], np.float32),
        "offset": np.array([[1, 0]], np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["probabilities"]),
    ]
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "light", [pixels], [result], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    card = {
        "task": "binary",
        "classes": ["dark", "light"],
        "image_size": [8, 8],
        "channels": 1,
        "input": "",
        "output": "",
    }
    (folder / "model.json").write_text(json.dumps(card))


@pytest.fixture
def output(tmp_path):
    write_model(tmp_path / "out" / "model")
    return tmp_path / "out"


def save(path, level=LIGHT, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.new("L", (12, 12), level).save(file, kind)


@pytest.fixture
def photos(tmp_path):
    """Good images under many names, and what lies beside them."""
    folder = tmp_path / "photos"
    kinds = {"JPEG": ("a.jfif", "b.jpe", "c.JPG", "d.mpo", "deep/er/e"), "PNG": ("f.apng", "g")}
    for kind, names in kinds.items():
        for name in names:
            save(folder / name, kind=kind)
    save(folder / ".hidden.png")
    save(folder / ".cache" / "x.png")
    save(folder / "__MACOSX" / "._c.jpg")
    (folder / "Thumbs.db").write_bytes(b"system")
    return folder


GOOD = ["a.jfif", "b.jpe", "c.JPG", "d.mpo", "deep/er/e", "f.apng", "g"]


def rows_of(output, *images):
    return list(Model(output).stream([str(each) for each in images]))


@pytest.mark.parametrize("model", ["", "/", "/model", "/model/", "/model/model.onnx"])
def test_every_way_to_name_the_model(output, photos, model):
    predictions = rows_of(f"{output}{model}", photos)
    assert [each.row["path"] for each in predictions] == [f"{photos}/{name}" for name in GOOD]
    for each in predictions:
        assert not each.failed
        assert each.row["error"] == ""
        assert each.row["predicted"] == "light"
        assert each.row["p_light"] == pytest.approx(LIGHT / 255, abs=0.01)


def test_an_image_that_is_named_is_read_whatever_its_name(output, photos):
    (each,) = rows_of(output, photos / ".hidden.png")
    assert each.row["predicted"] == "light"


@pytest.mark.parametrize(
    ("name", "content", "named", "fails"),
    [
        ("broken.png", b"no image", False, True),
        ("empty.jpg", b"", False, True),
        ("notes.txt", b"no image", False, False),
        ("_SUCCESS", b"", False, False),
        ("notes.txt", b"no image", True, True),
        ("noname", TRUNCATED, False, True),
    ],
)
def test_a_row_for_every_file_and_what_counts_as_failed(
    output, photos, name, content, named, fails
):
    (photos / name).write_bytes(content)
    predictions = rows_of(output, photos / name if named else photos)
    (each,) = (each for each in predictions if each.row["path"].endswith(f"/{name}"))
    assert each.row["error"]
    assert each.row["predicted"] == each.row["p_dark"] == ""
    assert each.failed == fails
    assert len(predictions) == (1 if named else len(GOOD) + 1)
    assert write_table(predictions, False, io.StringIO()) != fails


@pytest.mark.parametrize(("white", "light"), [(4095, 0.8), (None, 0.05)])
def test_sixteen_bits_are_scaled_as_in_training(output, tmp_path, white, light):
    pixels = np.full((12, 12), 3276, np.uint16)  # 0.8 of 12 bits, 0.05 of 16.
    Image.fromarray(pixels).save(tmp_path / "microscope.png")
    card = output / "model/model.json"
    if white:
        card.write_text(json.dumps(json.loads(card.read_text()) | {"white_level": white}))
    (each,) = rows_of(output, tmp_path / "microscope.png")
    assert each.row["p_light"] == pytest.approx(light, abs=0.005)
    assert bool(each.note) == (white is None)


def test_sixteen_bits_of_another_range_have_a_note(output, tmp_path):
    Image.fromarray(np.full((12, 12), 900, np.uint16)).save(tmp_path / "dark.png")
    Image.fromarray(np.full((12, 12), 40_000, np.uint16)).save(tmp_path / "bright.png")
    (dark,) = rows_of(output, tmp_path / "dark.png")
    assert dark.note == "has 16-bit values up to 900 of 65535: it is nearly black"
    card = output / "model/model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"white_level": 4095}))
    (bright,) = rows_of(output, tmp_path / "bright.png")
    assert "40000; the model takes those from 4095 on for white" in bright.note


def test_what_is_not_there_has_a_row(output, photos):
    gone, good = rows_of(output, photos / "gone.png", photos / "g")
    assert gone.failed
    assert "gone.png" in gone.row["error"]
    assert good.row["predicted"] == "light"


def test_a_link_to_a_folder_is_named_and_a_link_to_a_file_is_read(output, photos, tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    (photos / "linked folder").symlink_to(tmp_path / "elsewhere")
    (photos / "linked.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    rows = {each.row["path"].rpartition("/")[2]: each for each in rows_of(output, photos)}
    assert rows["linked.png"].row["predicted"] == "light"
    assert rows["linked folder"].failed
    assert "name that folder" in rows["linked folder"].row["error"]


def test_the_same_image_twice_has_two_rows(output, photos):
    dark = photos / "dark.png"
    save(dark, 0)
    rows = [each.row["predicted"] for each in rows_of(output, dark, photos / "g", dark)]
    assert rows == ["dark", "light", "dark"]


def test_an_empty_folder_is_refused(output, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_text("")
    with pytest.raises(ValueError, match="There must be an image to predict. Received: .*empty"):
        rows_of(output, tmp_path / "empty")


def test_rows_come_while_images_are_read(output, tmp_path):
    for index in range(200):
        save(tmp_path / "many" / f"{index:03}.png")
    predictions = Model(output).stream([str(tmp_path / "many")])
    assert next(predictions).row["path"].endswith("000.png")
    # Later images are not read yet: what happens to them now still counts.
    shutil.copyfile(__file__, tmp_path / "many" / "199.png")
    assert [each.failed for each in predictions] == [False] * 198 + [True]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda output: (output / "model" / "model.onnx").unlink(), "must be the output folder"),
        (lambda output: (output / "model" / "model.json").unlink(), "must be the `model.json`"),
        (lambda output: (output / "model" / "model.json").write_text("{"), "model.json must be"),
        (lambda output: (output / "model" / "model.json").write_text("{}"), "model.json must be"),
    ],
)
def test_what_is_no_model_is_refused(output, photos, damage, message):
    damage(output)
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        rows_of(output, photos)


@pytest.mark.parametrize("model", ["", "/model/model.onnx"])
def test_a_format_that_failed_its_check_is_refused(output, photos, model):
    card = output / "model/model.json"
    failed = {"model.onnx": "Predictions differ by 0.2 from Keras."}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"failed": failed}))
    with pytest.raises(ValueError, match=r"model\.onnx in .* failed: Predictions differ by 0\.2"):
        rows_of(f"{output}{model}", photos)


def test_a_rejected_run_has_no_model(output, photos):
    shutil.rmtree(output / "model")
    (output / "report.json").write_text('{"status": "rejected", "reason": "Worse than a coin."}')
    with pytest.raises(ValueError, match=r"is rejected: Worse than a coin\."):
        rows_of(output, photos)


def test_model_and_images_in_a_bucket(output, photos, s3):
    upload(output, f"{s3}/out")
    upload(photos, f"{s3}/photos")
    predictions = rows_of(f"{s3}/out", f"{s3}/photos/", f"{s3}/photos/g")
    expected = [f"{s3}/photos/{name}" for name in [*GOOD, "g"]]
    assert [each.row["path"] for each in predictions] == expected
    assert not any(each.failed for each in predictions)


def test_another_model_than_was_published_is_refused(output, photos, s3):
    upload(output, f"{s3}/out")
    model = output / "model/model.onnx"
    model.write_bytes(b"another")
    upload(model, f"{s3}/out/model/model.onnx")
    for uri in (f"{s3}/out", f"{s3}/out/model", f"{s3}/out/model/model.onnx"):
        with pytest.raises(StorageError, match=r"must have the checksum.*model\.onnx"):
            rows_of(uri, photos)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_a_table_and_nothing_else(output, photos, kfp_vision, as_json):
    (photos / "g").rename(photos / os.fsdecode(b"g\xff.png"))
    answer = kfp_vision("predict", output, photos, *(["--json"] if as_json else []))
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    rows = [json.loads(line) for line in lines] if as_json else list(csv.DictReader(lines))
    assert [row["path"] for row in rows][-1] == f"{photos}/g\\xff.png"
    assert len(rows) == len(GOOD)


def test_a_reader_that_ends_early_is_no_error(output, photos, command):
    for index in range(2000):
        (photos / f"{index}.png").symlink_to(photos / "g")
    line = f"{command[0]} predict {output} {photos} | head -1; echo ${{PIPESTATUS[0]}}"
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert answer.stderr == ""
    assert answer.stdout.startswith("path,predicted,confidence,")
    assert answer.stdout.endswith("\n141\n")


def test_exit_code_and_last_line_tell_of_failed_images(output, photos, kfp_vision_here):
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "empty.png").write_bytes(b"")
    (photos / "notes.txt").write_bytes(b"no image")
    for images, count, first in (
        (photos, "2 of 10", "broken.png"),
        (photos / "empty.png", "1 of 1", "empty.png"),
    ):
        answer = kfp_vision_here("predict", output, images)
        rows = csv.DictReader(answer.stdout.splitlines())
        reason = next(row["error"] for row in rows if row["path"] == f"{photos}/{first}")
        assert answer.returncode == 1
        assert answer.stderr == (
            f"kfp-vision: {count} files cannot be read as images, the first is "
            f"{photos}/{first}: {reason}\n"
        )
    answer = kfp_vision_here("predict", output, photos / "g")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_folder_without_any_image_says_so(output, tmp_path, kfp_vision_here):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/notes.txt").write_bytes(b"no image")
    answer = kfp_vision_here("predict", output, tmp_path / "texts")
    assert answer.returncode == 1
    assert answer.stderr.startswith("kfp-vision: 1 of 1 files cannot be read as images, the first ")


@pytest.mark.long
def test_tensorflow_and_keras_print_nothing(tmp_path, photos, kfp_vision):
    code = (
        "import keras, sys; images = keras.Input((8, 8, 1));"
        "mean = keras.layers.GlobalAveragePooling2D()(images);"
        "keras.Model(images, keras.layers.Dense(2, 'softmax')(mean)).save(sys.argv[1])"
    )
    write_model(tmp_path / "out" / "model")
    path = tmp_path / "out" / "model" / "model.keras"
    subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)
    answer = kfp_vision("predict", tmp_path / "out", photos)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert len(answer.stdout.splitlines()) == 1 + len(GOOD)
