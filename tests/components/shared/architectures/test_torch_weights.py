import pickle  # noqa: TID251 - shows that the hostile file is one.

import numpy as np
import pytest
from torch_files import MAGIC, Command, Tensor, write_weights

from kfp_vision.components.shared.architectures.torch_weights import read_torch_weights


def test_views_honour_offset_and_strides(tmp_path):
    tensors = {"t": Tensor(0, (2, 2), (1, 2)), "tail": Tensor(2, (2,), (1,))}
    read = read_torch_weights(write_weights(tmp_path / "w.pth", tensors))
    np.testing.assert_array_equal(read["t"], [[0, 2], [1, 3]])
    np.testing.assert_array_equal(read["tail"], [2, 3])


@pytest.mark.parametrize(
    ("tensors", "magic", "length", "message"),
    [
        ({"t": Tensor(3, (2,), (1,))}, MAGIC, 4, "outside its storage of 4"),
        ({"t": Tensor(0, (9,), (0,))}, MAGIC, 4, "outside its storage of 4"),
        ({"t": Tensor(0, (2, 2), (1,))}, MAGIC, 4, "zip"),
        ({"t": Tensor(0, (4,), (1,))}, MAGIC, 2**40, "buffer is smaller"),
        ({"t": Tensor(0, (4,), (1,))}, MAGIC, 2**64 - 9, "too large"),
        ({"t": print}, MAGIC, 4, "asks for builtins.print, which was not run"),
        ({"t": 7}, MAGIC, 4, "no attribute 'storage'"),
        ([Tensor(0, (4,), (1,))], MAGIC, 4, "no attribute 'values'"),
        ({}, MAGIC, 4, "'0'"),
        ({}, 7, 4, "starts with 7"),
    ],
)
def test_what_is_no_weights_file_is_refused(tensors, magic, length, message, tmp_path):
    path = write_weights(tmp_path / "w.pth", tensors, magic, length)
    with pytest.raises(ValueError, match=rf"must hold tensors alone.*w\.pth.*{message}"):
        read_torch_weights(path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04", b"\x80\x02K\x01."])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must hold tensors alone.*w\.pth.*publisher again"):
        read_torch_weights(path)


@pytest.mark.parametrize("place", ["magic", "tensors"])
def test_a_malicious_file_runs_nothing(place, tmp_path):
    command = Command(f"touch {tmp_path}/ran")
    malicious = {"magic": command} if place == "magic" else {"tensors": {"t": command}}
    path = write_weights(tmp_path / "w.pth", **{"tensors": {}, **malicious})
    with pytest.raises(ValueError, match=r"asks for (posix|nt)\.system, which was not run"):
        read_torch_weights(path)
    assert not (tmp_path / "ran").exists()

    # The same file does run its command where it is loaded as usual.
    with path.open("rb") as file:
        for _ in range(1 if place == "magic" else 4):
            pickle.load(file)  # noqa: S301
    assert (tmp_path / "ran").exists()


def test_every_damaged_file_is_refused_or_read(tmp_path):
    whole = write_weights(tmp_path / "w.pth", {"t": Tensor(0, (2, 2), (1, 2))}).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for cut in range(len(whole)):
        damaged = bytearray(whole if cut % 2 else whole[:cut])
        if cut % 2:
            damaged[cut] = rng.integers(256)
        (tmp_path / "d.pth").write_bytes(damaged)
        try:
            read_torch_weights(tmp_path / "d.pth")
        except ValueError as error:
            refused += "must hold tensors alone" in str(error)
    assert refused > len(whole) / 2
