import pickle  # noqa: TID251 - writes the files.

import numpy as np
import pytest
from torch_files import Command

from kfp_vision.components.shared.architectures.numpy_weights import read_numpy_weights


def write(path, value):
    # NumPy 1 wrote the published file; its module has a new name.
    content = pickle.dumps(value, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    path.write_bytes(content)
    return path


def test_arrays_of_both_orders_are_read(tmp_path):
    first = np.arange(6, dtype=np.float32).reshape(2, 3)
    second = np.asfortranarray(first + 1)
    read = read_numpy_weights(write(tmp_path / "w.pkl", {"a": [first, second], "b/c": [first[0]]}))
    assert list(read) == ["a.0", "a.1", "b/c.0"]
    np.testing.assert_array_equal(read["a.0"], first)
    np.testing.assert_array_equal(read["a.1"], second)
    np.testing.assert_array_equal(read["b/c.0"], first[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [np.zeros(2)]}, "an array is of f8, not f4"),
        ({"a": [np.zeros(2, ">f4")]}, "byte order >"),
        ({"a": [np.array([print])]}, "which was not run|an array is of O8"),
        ({"a": [print]}, "asks for builtins.print, which was not run"),
        ({"a": ["text"]}, "no attribute 'array'"),
        ({"a": 7}, "not iterable"),
        (7, "no attribute 'items'"),
    ],
)
def test_what_holds_more_than_arrays_is_refused(value, message, tmp_path):
    path = write(tmp_path / "w.pkl", value)
    with pytest.raises(ValueError, match=rf"must hold tensors alone.*w\.pkl.*({message})"):
        read_numpy_weights(path)


@pytest.mark.parametrize("place", ["list", "array"])
def test_a_malicious_file_runs_nothing(place, tmp_path):
    command = Command(f"touch {tmp_path}/ran")
    path = write(tmp_path / "w.pkl", {"a": [command if place == "list" else np.array([command])]})
    with pytest.raises(ValueError, match="which was not run|an array is of O8"):
        read_numpy_weights(path)
    assert not (tmp_path / "ran").exists()

    # The same file does run its command where it is loaded as usual.
    pickle.loads(path.read_bytes())  # noqa: S301
    assert (tmp_path / "ran").exists()
