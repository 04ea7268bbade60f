"""Where checkpoints go: a path or file://; a bucket is refused before a stage has read anything."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from kfp_vision.components.augmentation_search.component import search_augmentation
from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
from kfp_vision.components.training.component import train_model
from kfp_vision.components.trial_search.component import run_trials

_NOTHING = dsl.Artifact(uri="/nothing/here")
_STAGES = {
    "search": (search_augmentation, {"augmentation": _NOTHING, "search": True, "seed": 0}),
    "trials": (run_trials, {"augmentation": _NOTHING, "work": '{"trials": [], "done": []}'}),
    "training": (
        train_model,
        {"model": _NOTHING, "metrics": _NOTHING, "seed": 0},
    ),
}


@pytest.mark.parametrize("stage", _STAGES)
@pytest.mark.parametrize("uri", ["s3://bucket/checkpoints", "gs://bucket/checkpoints"])
def test_a_bucket_is_refused_and_makes_no_folder(
    stage: str,
    uri: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    component, arguments = _STAGES[stage]
    empty = dsl.Dataset(uri=str(tmp_path_factory.mktemp("empty")))
    dataset = dict.fromkeys(("dataset_info", "train", "validation"), empty)
    given: dict[str, Any] = {**dataset, "recipe": _NOTHING, **arguments}
    with pytest.raises(ValueError, match=f"`checkpoint_uri` must be on this machine.*{uri}"):
        component.python_func(**given, checkpoint_uri=uri, image_cache_gib=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_one_is_a_folder(prefix: str, tmp_path: Path) -> None:
    assert checkpoint_folder(f"{prefix}{tmp_path}/checkpoints") == tmp_path / "checkpoints"


def test_without_one_the_folder_is_a_new_one() -> None:
    first, second = checkpoint_folder(""), checkpoint_folder("")
    assert first != second
    assert first.is_dir()
