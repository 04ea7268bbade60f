"""The digits as every task, a network trained on them, and its evaluation."""

from pathlib import Path
from typing import Any

import pytest
from digits_artifacts import CLASSES, Trained, write_trained

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation


@pytest.fixture(scope="session", params=list(CLASSES))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return write_trained(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def evaluated(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, phases: Any
) -> tuple[Trained, Evaluation, Path]:
    folder = tmp_path_factory.mktemp("evaluation")
    config = EvaluateConfig(num_resamples=200, num_mistakes=5)
    with phases.heard("evaluate"):
        evaluation = evaluate_model(trained.dataset_dir, trained.model_dir, folder, config)
    return trained, evaluation, folder
