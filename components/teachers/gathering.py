"""The members are trained, here or by several tasks, and one teacher is made of them."""

import dataclasses
import functools
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.teachers_result import Member, Share, TeachersResult
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, TrainingResult
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.closing_times import closing_images
from kfp_vision.components.shared.recipe.distilled import is_ensemble_wanted
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.inference import compile_inference
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES, failure_reason
from kfp_vision.components.shared.training.setup import (
    open_split,
    recipe_class_weights,
    recipe_policy,
)
from kfp_vision.components.teachers.ensemble_model import choose_size
from kfp_vision.components.teachers.judges import Judges
from kfp_vision.components.teachers.member_training import (
    NoTimeError,
    TrainedMember,
    train_member,
)
from kfp_vision.components.teachers.members import (
    BOOSTED,
    BOOTSTRAP,
    PlannedMember,
    plan_members,
)
from kfp_vision.components.teachers.resampling import boosting_weights, bootstrap_rows
from kfp_vision.components.teachers.teacher import AskedMember, choose_teacher

__all__ = ["Gathering"]

_MODEL = "model"
# Of the time; the rest is for what is made of the members.
_MEMBERS_SHARE = 0.85
# A network that has less is not begun; fewer are trained where that is all there is for each.
_LEAST_SECONDS = 10.0
# Of boosting: few images that are wrong by their label would else be most of what a member sees.
_SHRINKAGE = 0.5


class Gathering:
    """A trained model, and what other networks are trained with."""

    def __init__(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        recipe: Recipe,
        checkpoint_dir: Path,
        seed: int,
        cache: ImageCache | None,
    ) -> None:
        """Opens the images.

        Args:
            dataset_dir: Folder of the dataset.
            info: Of the dataset.
            recipe: Of the training of the model.
            checkpoint_dir: Outlives a killed task.
            seed: Of the model.
            cache: Keeps decoded images for other stages and runs; None keeps none.
        """
        self._dataset_dir, self._info, self._recipe = dataset_dir, info, recipe
        self._checkpoint_dir, self._seed, self._cache = checkpoint_dir, seed, cache
        self._policy = recipe_policy(recipe)
        # What is deployed is evaluated and exported by all of its members.
        self._num_later = closing_images(info) if is_ensemble_wanted(recipe) else 0
        positive = recipe.get("data", "positive_class")
        self._task = task_of(info, positive.value if positive else None)

    def gather(
        self,
        trained_dir: Path,
        number: int,
        seconds: float,
        watch: StageWatch,
        shares: Mapping[Path, Share] | None = None,
    ) -> tuple[TeachersResult, keras.Model | None]:
        """Returns what was seen, and the teacher; None where nothing is better than the model.

        Args:
            trained_dir: The `model` artifact.
            number: Networks that are trained beside the model.
            seconds: For everything; networks that are left share what is left of it.
            watch: Of the stage.
            shares: What tasks have trained, by its folder; None trains here.
        """
        model = _load(trained_dir / MODEL_FILE)
        validation = self._open("validation", self._recipe)
        judges = Judges(
            self._task,
            validation.read_targets(np.arange(len(validation))),
            self._recipe.value("data", "primary_metric"),
            recipe_class_weights(self._recipe),
        )
        members, failed = [self._of_model(model, trained_dir, validation)], list[str]()
        planned = dict(enumerate(plan_members(self._recipe, self._info, number, self._seed)))
        if shares is None:
            ends = _MEMBERS_SHARE * seconds
            for place, trained in self._train_all(planned, model, ends, watch, failed):
                recipe = planned[place].recipe
                told = _told(planned[place].kind, recipe, trained)
                members.append(self._ask(recipe, told, trained.model))
        else:
            failed += [sentence for share in shares.values() for sentence in share.failed]
            found = {
                place: (told, folder)
                for folder, share in shares.items()
                for place, told in zip(share.places, share.members, strict=True)
            }
            for place, (told, folder) in sorted(found.items(), key=lambda each: each[0]):
                network = _load(folder / _member_file(place))
                members.append(self._ask(planned[place].recipe, told, network))
        if len(members) == 1:
            return TeachersResult(failed=failed, judges=len(judges)), None
        sizes = [each.model.input_shape[1:3] for each in members]
        size = choose_size(sizes, self._info.median_height, self._info.median_width)
        result, teacher = choose_teacher(
            members, judges, lambda network: _outputs(network, validation), size
        )
        return dataclasses.replace(result, failed=failed), teacher

    def train_share(
        self,
        trained_dir: Path,
        number: int,
        seconds: float,
        watch: StageWatch,
        worker: int,
        workers: int,
        output_dir: Path,
    ) -> Share:
        """Trains every `workers`-th network, and writes the models that `gather` asks.

        Args:
            trained_dir: As of `gather`.
            number: The same.
            seconds: The same.
            watch: The same.
            worker: From 0 on.
            workers: Tasks that share the networks.
            output_dir: Receives a file for each network.
        """
        planned = dict(enumerate(plan_members(self._recipe, self._info, number, self._seed)))
        mine = {place: planned[place] for place in range(worker, number, workers)}
        places, members, failed = list[int](), list[Member](), list[str]()
        model, ends = _load(trained_dir / MODEL_FILE), _MEMBERS_SHARE * seconds
        for place, trained in self._train_all(mine, model, ends, watch, failed):
            trained.model.save(output_dir / _member_file(place))
            places.append(place)
            members.append(_told(mine[place].kind, mine[place].recipe, trained))
        return Share(places, members, failed, watch.seconds)

    def _train_all(
        self,
        planned: Mapping[int, PlannedMember],
        model: keras.Model,
        ends: float,
        watch: StageWatch,
        failed: list[str],
    ) -> Iterator[tuple[int, TrainedMember]]:
        """Yields the place and the training of each member.

        Args:
            planned: By place.
            model: What is trained already.
            ends: When the last one has to be over, in seconds of the stage.
            watch: Of the stage.
            failed: Gets a sentence on what could not be trained.
        """
        about = {"stage": "train_teachers", "seed": self._seed, "places": str(list(planned))}
        identity = training_identity(self._dataset_dir, self._recipe, **about)
        watch.open(self._checkpoint_dir / f"teachers-{identity}")
        for at, (place, each) in enumerate(planned.items()):
            began = watch.moment(f"network {place}")
            left, count = ends - began, len(planned) - at
            if at and left < _LEAST_SECONDS:
                failed.append(f"{count} of {len(planned)} networks: no time is left for them.")
                return
            left /= max(1.0, min(count, left / _LEAST_SECONDS))
            try:
                with Progress(f"train a teacher ({each.kind})"):
                    trained = self._train(each, model, left)
            except (*TRAINING_FAILURES, NoTimeError) as error:
                failed.append(f"{each.kind}: {failure_reason(error)}")
                show_note(f"A teacher could not be trained. {failed[-1]}")
            else:
                # By its checkpoints: a process that was killed has kept its seconds before.
                watch.add(max(0.0, began + trained.seconds - watch.seconds))
                measured = functools.partial(float, trained.forward_s)
                ends -= self._num_later * watch.once(f"forward of network {place}", measured)
                yield place, trained
            # What a training holds in memory goes before the next one begins.
            gc.collect()

    def _open(self, split: str, recipe: Recipe) -> LabelledImages:
        return open_split(self._dataset_dir, split, recipe, self._cache)

    def _of_model(
        self, model: keras.Model, trained_dir: Path, validation: LabelledImages
    ) -> AskedMember:
        """Returns the trained model as a member."""
        training = read_json(TrainingResult, trained_dir / "training.json")
        outputs, is_mixed = _outputs(model, validation), starts_pretrained(self._recipe)
        # Its time is in the plan.
        trained = TrainedMember(model, training.images_seen, training.seconds, forward_s=0.0)
        return AskedMember(_told(_MODEL, self._recipe, trained), model, outputs, is_mixed)

    def _train(self, planned: PlannedMember, model: keras.Model, seconds: float) -> TrainedMember:
        """Returns a member after its training."""
        given = (self._dataset_dir, self._info, planned, self._policy)
        rows = self._draw(planned, model)
        later = (seconds, self._num_later, self._cache)
        return train_member(*given, rows, self._checkpoint_dir, *later)

    def _ask(self, recipe: Recipe, told: Member, network: keras.Model) -> AskedMember:
        """Returns a member with what it says of the validation images.

        Args:
            recipe: Of the member.
            told: What it is.
            network: After its training.
        """
        outputs = _outputs(network, self._open("validation", recipe))
        is_mixed = starts_pretrained(self._recipe) and all(
            recipe.value("model", name) == self._recipe.value("model", name)
            for name in ("architecture", "image_size")
        )
        return AskedMember(told, network, outputs, is_mixed)

    def _draw(self, planned: PlannedMember, model: keras.Model) -> np.ndarray | None:
        """Returns the training images that a member sees; None for all."""
        if planned.kind not in (BOOTSTRAP, BOOSTED):
            return None
        weights, number = None, self._info.splits["train"]
        if planned.kind == BOOSTED:
            train = self._open("train", self._recipe)
            decided = self._task.decode(_outputs(model, train))
            labels = train.read_targets(np.arange(number))["label"]
            if labels.ndim == 2:
                is_wrong, outcomes = ((decided >= 0.5) != labels).any(axis=1), 2
            else:
                is_wrong = decided.argmax(axis=1) != labels
                outcomes = len(self._info.classes)
            weights = boosting_weights(is_wrong, outcomes, _SHRINKAGE)
        return bootstrap_rows(number, planned.seed, weights)


def _member_file(place: int) -> str:
    """Returns the name of the file of a network in a `members` artifact."""
    return f"{place}.keras"


def _load(path: Path) -> keras.Model:
    return keras.models.load_model(path, compile=False, safe_mode=True)


def _outputs(model: keras.Model, images: LabelledImages) -> np.ndarray:
    """Returns the raw outputs of a model for all images, [N, C]."""
    infer = compile_inference(model)
    return np.concatenate([infer(pixels) for pixels, _ in images.batches()])


def _told(kind: str, recipe: Recipe, trained: TrainedMember) -> Member:
    return Member(
        kind,
        recipe.value("model", "architecture"),
        list(trained.model.input_shape[1:3]),
        trained.model.count_params(),
        trained.images_seen,
        trained.seconds,
    )
