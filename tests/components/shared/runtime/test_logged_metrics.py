"""What a backend can store is logged, what it cannot is named."""

import json

import numpy as np
import pytest
from kfp import dsl

from kfp_vision.components.shared.runtime.logged_metrics import log_metrics


def test_only_finite_metrics_reach_the_artifact(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = dsl.Metrics()
    values = {"accuracy": np.float32(0.5), "steps": 3, "auroc": float("nan"), "ece": None}
    log_metrics(metrics, values | {"loss": float("inf"), "nothing": np.nan})
    assert json.loads(json.dumps(metrics.metadata, allow_nan=False)) == {
        "accuracy": 0.5,
        "steps": 3.0,
    }
    said = capsys.readouterr().out
    assert all(name in said for name in ("auroc (nan)", "ece (None)", "loss (inf)", "nothing"))
    log_metrics(metrics, {"accuracy": 1.0})
    assert capsys.readouterr().out == ""
