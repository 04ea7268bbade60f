"""What a `.keras` file says of itself, read before anything in it is built.

A `.keras` file is a zip of `config.json` (the layers), `metadata.json` and `model.weights.h5`.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

from kfp_vision.components.shared.runtime.storage import download, open_folder

__all__ = ["unpack_model_file"]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = (_CONFIG, "metadata.json", _WEIGHTS)
_SAVE = "Write it with `model.save('model.keras')`."
# Loading one of these runs code from the file, or loads files of another framework.
_CODE = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
# Plain values that Keras writes in the form of objects.
_VALUES = ("__tensor__", "__keras_tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
# A training has no loss scaling, and the exports are float32.
_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
_STARTS = {
    b"TFL3": "a LiteRT file, which cannot be trained. Use the Keras model that it was made from.",
    b"PK\x03\x04": "a damaged zip archive. Copy or save the file again.",
}


def unpack_model_file(uri: str, folder: Path) -> Path:
    """Returns a folder that Keras loads, in float32 and for batches of any size.

    The file's optimizer, loss and metrics are left out: they have no part in what follows.

    Args:
        uri: Of the file.
        folder: Empty; the file and what is in it are written there.

    Raises:
        ValueError: It is no such file, or it holds code, layers that Keras does not have, or
            quantised weights.
        StorageError: It cannot be reached.
    """
    source, name = open_folder(uri)
    if not name:
        held = "a SavedModel" if source.exists("saved_model.pb") else "a folder"
        raise _not_a_model(uri, f"{held}, not a file. {_SAVE}")
    archive_path, unpacked = folder / "file", folder / "model"
    download(uri, archive_path)
    if not zipfile.is_zipfile(archive_path):
        raise _not_a_model(uri, f"not a Keras archive but {_describe(archive_path)}")
    unpacked.mkdir()
    try:
        with zipfile.ZipFile(archive_path) as archive:
            names = archive.namelist()
            if not {_CONFIG, _WEIGHTS} <= set(names):
                made_by = " of PyTorch" if any(n.endswith("/data.pkl") for n in names) else ""
                raise ValueError(
                    f"A `.keras` file must hold {_CONFIG} and {_WEIGHTS}. "
                    f"Received: {uri!r}, a zip archive{made_by} with {names[:5]}. {_SAVE}"
                )
            # Never `extractall`: the names are the file's own.
            for member in set(names) & set(_MEMBERS):
                (unpacked / member).write_bytes(archive.read(member))
        config = json.loads((unpacked / _CONFIG).read_text(encoding="utf-8"))
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _not_a_model(uri, f"damaged ({error}). Copy or save it again.") from error
    config.pop("compile_config", None)
    _check_layers(config, uri)
    config = _with_graph_names(_trainable_config(config))
    (unpacked / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return unpacked


def _not_a_model(uri: str, received: str) -> ValueError:
    return ValueError(
        "`architecture` must be a name of the zoo or the URI of a `.keras` file. "
        f"Received: {uri!r}, which is {received}"
    )


def _describe(path: Path) -> str:
    """Returns what a file is that is no zip, and what to do about it."""
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                return (
                    "a model in the HDF5 format of older versions. Load it with "
                    "`keras.models.load_model`, then `model.save('model.keras')`."
                )
        return (
            "weights without their network (HDF5). Build the network, `load_weights`, then "
            "`model.save('model.keras')`."
        )
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return f"an empty file. {_SAVE}"
    for magic, kind in _STARTS.items():
        if magic in start[:8]:
            return kind
    is_text = start.isascii() and b"\0" not in start
    return f"{'text' if is_text else 'something else'}, starting with {start[:20]!r}. {_SAVE}"


def _objects(config: Any, name: str = "model") -> Iterator[tuple[dict[str, Any], str]]:
    """Yields every object of a saved configuration and the name of the layer that it belongs to."""
    if isinstance(config, list):
        for value in config:
            yield from _objects(value, name)
    elif isinstance(config, dict):
        if "class_name" in config:
            inner = config.get("config")
            name = (inner.get("name") if isinstance(inner, dict) else None) or name
            yield config, name
        # Keras writes a lambda as an activation without a class.
        activation = config.get("activation")
        if isinstance(activation, dict) and "class_name" not in activation:
            yield {"class_name": "__lambda__"}, name
        for value in config.values():
            yield from _objects(value, name)


def _check_layers(config: dict[str, Any], uri: str) -> None:
    """Refuses code, foreign classes and functions, and quantised weights, each by its name."""
    code, foreign, quantised = set(), set(), set()
    for each, name in _objects(config):
        kind, module = each["class_name"], each.get("module") or ""
        if kind in _CODE:
            code.add(name if kind in ("Lambda", "__lambda__") else f"{name} ({kind})")
        elif kind == "function":
            if not hasattr(keras.activations, str(each.get("config"))):
                foreign.add(f"{each.get('config')} in {name}")
        elif "Quantized" in kind:
            quantised.add(name)
        elif kind not in _VALUES and module.split(".")[0] != "keras":
            foreign.add(f"{kind} ({name})")
    if code:
        raise ValueError(
            "A model file must not hold Lambda layers or networks of other frameworks, because "
            f"loading one runs code from the file. Received: {uri!r} with {sorted(code)}. Write "
            "them with layers of Keras (Rescaling, Normalization, Reshape, ...)."
        )
    if foreign:
        raise ValueError(
            "A model file must be made of layers of Keras, because nothing else can be loaded "
            f"without its code. Received: {uri!r} with {sorted(foreign)}. Write them with layers "
            "and activations of Keras, such as `activation='softmax'`."
        )
    if quantised:
        raise ValueError(
            "A model file must hold weights that can be trained. Received: "
            f"{uri!r} with quantised layers {sorted(quantised)}. Save the model before "
            "`quantize`; the export makes an int8 file of what was trained."
        )


def _trainable_config(config: Any) -> Any:
    """Returns a configuration in float32 numbers, for batches of any size and pixels in float32."""
    if isinstance(config, list):
        return [_trainable_config(value) for value in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _trainable_config(value) for key, value in config.items()}
    if config.get("class_name") == "DTypePolicy":
        changed["config"] = {"name": "float32"}
    if config.get("class_name") == "InputLayer" and "batch_shape" in changed["config"]:
        shape = [None, *changed["config"]["batch_shape"][1:]]
        changed["config"] |= {"batch_shape": shape, "dtype": "float32"}
    if changed.get("dtype") in _FLOATS:
        changed["dtype"] = "float32"
    return changed


def _with_graph_names(config: Any) -> Any:
    """Returns a configuration without names that TensorFlow refuses in a graph, such as `conv 1`.

    Of layers, and so of the variables and connections that are named after them.
    """
    names = {name for _, name in _objects(config)}
    renamed: dict[str, str] = {}
    for name in sorted(names):
        if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.-]*", name):
            valid = "layer_" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)
            while valid in names:
                valid += "_"
            names.add(valid)
            renamed[name] = valid
            print(f"The layer {name!r} is called {valid!r}: TensorFlow's graphs refuse its name.")

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(part) for key, part in value.items()}
        if isinstance(value, list):
            return [replaced(part) for part in value]
        return renamed.get(value, value) if isinstance(value, str) else value

    return replaced(config) if renamed else config
