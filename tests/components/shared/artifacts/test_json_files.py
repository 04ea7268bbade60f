"""Dataclasses that hold others come back from their files as they were."""

import dataclasses
from pathlib import Path

import pytest

from kfp_vision.components.shared.artifacts.json_files import json_text, read_json, write_json


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    best: Row | None
    rows: list[Row]
    by_name: dict[str, Row]
    grouped: dict[str, list[Row]]
    free: dict[str, object]
    numbers: list[list[int]]


@pytest.mark.parametrize("best", [None, Row("best", 1.5)])
def test_rows_are_read_as_the_type_hints_say(tmp_path: Path, best: Row | None) -> None:
    rows = [Row("a", 1.0), Row("b")]
    table = Table(best, rows, {"a": rows[0]}, {"all": rows}, {"name": ["x"]}, [[1], [2, 3]])
    write_json(table, tmp_path / "table.json")
    assert read_json(Table, tmp_path / "table.json") == table


def test_a_field_that_the_class_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text('{"name": "a", "colour": "red"}')
    with pytest.raises(TypeError, match="colour"):
        read_json(Row, tmp_path / "row.json")


def test_a_number_that_json_has_no_word_for_is_named() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\].value = nan"):
        json_text({"rows": [Row("a"), Row("b", float("nan"))]})
