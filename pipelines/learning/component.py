"""The KFP component of all that trains the model."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def train_model(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    train_sample: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Learns before labels, by the recipe, from images without labels again, then by a teacher.

    All stages in one task: the framework starts once, and a model that is replaced is not kept.
    `train_sample` holds the training images that the evaluation reads. Without a `checkpoint_uri`,
    a folder that outlives the task, a retry starts anew.
    """
    import gc
    import tempfile
    from pathlib import Path
    from types import SimpleNamespace

    from kfp_vision.components.distillation import component as distillation
    from kfp_vision.components.pretraining import component as pretraining
    from kfp_vision.components.self_training import component as self_training
    from kfp_vision.components.teachers import component as teachers
    from kfp_vision.components.training import component as training

    given = {
        "dataset_info": dataset_info,
        "train": train,
        "validation": validation,
        "page": page,
        "metrics": metrics,
        "checkpoint_uri": checkpoint_uri,
        "image_cache_gib": image_cache_gib,
        "seed": seed,
    }
    folder = Path(model.path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trained-") as scratch:
        started, plain, taught, joined = (
            SimpleNamespace(path=f"{scratch}/{name}", uri=model.uri)
            for name in ("started", "plain", "taught", "joined")
        )
        pretraining.pretrain.python_func(
            **given, unlabeled=unlabeled, recipe=recipe, pretrained=started
        )
        # What a stage holds in memory goes before the next one begins.
        gc.collect()
        training.train_model.python_func(
            **given, recipe=started, model=plain, train_sample=train_sample
        )
        gc.collect()
        self_training.self_train.python_func(
            **given, unlabeled=unlabeled, trained=plain, model=taught
        )
        gc.collect()
        teachers.train_teachers.python_func(**given, trained=taught, model=joined)
        gc.collect()
        distillation.distill.python_func(**given, unlabeled=unlabeled, trained=joined, model=model)
