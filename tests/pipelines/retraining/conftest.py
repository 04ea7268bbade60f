"""A champion as a run publishes it, of a model that is written by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.data_import.source_version import list_source_files
from kfp_vision.components.shared.artifacts.source_files import write_source_files
from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    Lineage,
    add_version,
    promote,
)


@pytest.fixture
def crown():
    """Publishes a champion whose run has read what is in a dataset now."""

    def write(
        files: Path, dataset: Any, metric: str, predictions: Mapping[str, Any], uri: str = ""
    ) -> str:
        """Returns the URI of the champions, beside `files`, which holds `model/`."""
        report = {"metrics": {"primary": metric, "positive_class": None}, "exports": []}
        (files / "report.json").write_text(json.dumps(report))
        pq.write_table(pa.table(dict(predictions)), files / "predictions.parquet")
        uris = (str(dataset), "auto", "", False, "", "auto", "", 0)
        write_source_files(list_source_files(*uris), files / "sources")
        facts, uri = ImportFacts(str(dataset), "", 0), uri or str(files.parent / "champions")
        add_version(uri, {"": files}, Lineage("v1", "", "", "", facts, "", {}, "", {}, {}, {}))
        promote(uri, "v1", "test")
        return uri

    return write
