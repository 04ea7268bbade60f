"""Large JSON objects, value by value, are what the standard library reads at once."""

import io
import json
from typing import Any

import pytest

from kfp_vision.components.data_import.readers import json_stream
from kfp_vision.components.data_import.readers.json_stream import JsonError, stream_object

_CONTENT = {
    "info": {"year": 2017, "text": 'a "quoted" ] } text'},
    "numbers": [1, 23, 456.75, -1e-3, True, None, "ü"],
    "images": [{"id": n, "deep": [[n, [n]], {"x": "é"}]} for n in range(5)],
    "empty": [],
    "last": 1234567,
}


@pytest.mark.parametrize("chunk", [1, 2, 7, 2**20])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_value_is_read_whatever_the_chunk(chunk, indent, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    text = json.dumps(_CONTENT, ensure_ascii=False, indent=indent)
    found: dict[str, list[Any]] = {}
    for key, value in stream_object(io.BytesIO(text.encode())):
        found.setdefault(key, []).append(value)
    for key, value in _CONTENT.items():
        assert found.get(key, []) == (value if isinstance(value, list) else [value])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a"',
        '{"a": [1, 2',
        '{"a": [1 2]}',
        '{"a": tru}',
        '{"a": 1',
        "{" + "[" * 99999,
        '{"a": ' + "9" * 9999 + "}",
    ],
)
def test_what_is_no_whole_object_is_refused(text):
    with pytest.raises(JsonError):
        list(stream_object(io.BytesIO(text.encode())))


def test_a_file_is_not_read_on_after_a_mistake(monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 1000)
    file = io.BytesIO(('{"a": [{"b": 1 2}, ' + '"b, "' * 100_000).encode())
    with pytest.raises(JsonError, match="delimiter after 15 characters"):
        list(stream_object(file))
    assert file.tell() <= 1000


def test_nesting_that_is_too_deep_is_refused():
    with pytest.raises(JsonError, match="too deeply"):
        list(stream_object(io.BytesIO(('{"a": {"b": ' + "[" * 200_000).encode())))
