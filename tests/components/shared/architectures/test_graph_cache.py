"""A kept graph is used while it is whole and of the same identity, else converted anew."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from kfp_vision.components.shared.architectures.graph_cache import load_graph


def test_a_graph_is_converted_once(tmp_path):
    path, conversions = tmp_path / "cache" / "network.onnx", []

    def convert():
        conversions.append(1)
        return b"graph"

    assert [load_graph(path, "weights", convert) for _ in range(2)] == [b"graph", b"graph"]
    assert len(conversions) == 1
    assert [each.name for each in path.parent.iterdir()] == ["network.onnx"]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"", lambda content: b"x" + content[1:]],
    ids=["cut", "empty", "changed"],
)
def test_a_damaged_file_is_made_anew(damage, tmp_path):
    path = tmp_path / "network.onnx"
    load_graph(path, "weights", lambda: b"graph")
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    assert load_graph(path, "weights", lambda: b"graph") == b"graph"
    assert path.read_bytes() == sound


def test_the_graph_of_other_weights_is_replaced(tmp_path):
    path = tmp_path / "network.onnx"
    load_graph(path, "weights", lambda: b"graph")
    assert load_graph(path, "other weights", lambda: b"other graph") == b"other graph"


def test_without_a_folder_that_can_be_written_nothing_is_kept(tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "network.onnx"
    assert load_graph(path, "weights", lambda: b"graph") == b"graph"
    assert "is not kept" in capsys.readouterr().out
    assert load_graph(None, "weights", lambda: b"graph") == b"graph"


def test_simultaneous_writers_leave_a_whole_file(tmp_path):
    path = tmp_path / "network.onnx"
    with ThreadPoolExecutor(8) as pool:
        graphs = pool.map(lambda _: load_graph(path, "weights", lambda: bytes(10**6)), range(24))
        assert all(len(graph) == 10**6 for graph in graphs)
    assert [each.name for each in tmp_path.iterdir()] == ["network.onnx"]
