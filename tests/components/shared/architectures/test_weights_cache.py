import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch_files import Command, Tensor, write_weights

from kfp_vision.components.shared.architectures import weights_cache
from kfp_vision.components.shared.architectures.torch_weights import read_torch_weights
from kfp_vision.components.shared.architectures.weights_cache import default_folder, load_converted

EXPECTED = [[0, 2], [1, 3]]


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path):
    return write_weights(tmp_path / "w.pth", {"t": Tensor(0, (2, 2), (1, 2))})


class Parser:
    """Reads weights and keeps in mind which files it has read."""

    def __init__(self):
        self.parsed = []

    def __call__(self, path):
        self.parsed.append(path)
        return read_torch_weights(path)


def read(source, folder, parse=read_torch_weights):
    return load_converted(source, digest_of(source), parse, folder)


def test_the_file_is_parsed_once(source, tmp_path):
    parse = Parser()
    for _ in range(2):
        tensors = read(source, tmp_path / "cache", parse)
        np.testing.assert_array_equal(tensors["t"], EXPECTED)
    assert parse.parsed == [source]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["w.safetensors"]


def _cut(copy):
    copy.write_bytes(copy.read_bytes()[:-1])


def _change_one_bit(copy):
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)


def _empty(copy):
    copy.write_bytes(b"")


def _replace_tensors(copy):
    save_file({"t": np.zeros((2, 2), np.float32)}, copy)


def _copy_of_another_source(copy):
    other = write_weights(copy.parent / "w.pth", {"t": Tensor(0, (1,), (1,))})
    copy.unlink()
    read(other, copy.parent)
    other.unlink()


@pytest.mark.parametrize(
    "damage", [_cut, _change_one_bit, _empty, _replace_tensors, _copy_of_another_source]
)
def test_a_damaged_or_foreign_copy_is_made_anew(damage, source, tmp_path):
    copy = tmp_path / "cache" / "w.safetensors"
    read(source, copy.parent)
    damage(copy)
    parse = Parser()
    for _ in range(2):
        tensors = read(source, copy.parent, parse)
        np.testing.assert_array_equal(tensors["t"], EXPECTED)
    assert parse.parsed == [source]
    np.testing.assert_array_equal(load_file(copy)["t"], EXPECTED)


def test_a_copy_of_another_version_of_the_conversion_is_made_anew(source, monkeypatch, tmp_path):
    parse = Parser()
    read(source, tmp_path, parse)
    monkeypatch.setattr(weights_cache, "_CONVERSION", "another")
    read(source, tmp_path, parse)
    assert parse.parsed == [source, source]


def test_without_a_writable_folder_it_works_and_says_so_once(source, tmp_path, capsys):
    weights_cache._say_uncached.cache_clear()
    (tmp_path / "file").write_text("in the place of the folder")
    for _ in range(2):
        tensors = read(source, tmp_path / "file" / "cache")
        np.testing.assert_array_equal(tensors["t"], EXPECTED)
    said = capsys.readouterr().out
    assert said.count("converted at each start") == 1
    assert "cannot be written" in said
    assert str(tmp_path / "file") in said


def test_a_user_without_a_home_has_no_cache(source, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() is None
    np.testing.assert_array_equal(read(source, None)["t"], EXPECTED)


def test_a_wrong_digest_is_refused_before_the_file_is_parsed(source, tmp_path):
    digest, parse = digest_of(source), Parser()
    with source.open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=f"digest {digest_of(source)} instead of {digest}"):
        load_converted(source, digest, parse, tmp_path / "cache")
    assert parse.parsed == []


def test_what_is_refused_leaves_nothing(tmp_path):
    source = write_weights(tmp_path / "w.pth", {"t": Command(f"touch {tmp_path}/ran")})
    with pytest.raises(ValueError, match="tensors alone"):
        read(source, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]
