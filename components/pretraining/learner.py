"""The trainer of both arms: steps without labels, probes between them, and a stop at a collapse.

Shapes: batches of both views of B images, see twins.py.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.pretraining.barlow_twins import barlow_twins_loss
from kfp_vision.components.pretraining.embedding import describe_spread
from kfp_vision.components.pretraining.probes import Probe
from kfp_vision.components.pretraining.simclr import nt_xent_loss
from kfp_vision.components.pretraining.twins import (
    TwinImages,
    TwinLoss,
    TwinTask,
    add_projector,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.pretraining_result import ArmResult, ProbePoint
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.loader import prefetch
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import STATISTICS_BATCHES
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.training.checkpoints import (
    Stopwatch,
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer
from kfp_vision.components.shared.training.start_weights import feature_reader
from kfp_vision.components.shared.training.step_time import seconds_per_step
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["ARMS", "Learner"]

ARMS: dict[str, TwinLoss] = {"Barlow Twins": barlow_twins_loss, "SimCLR": nt_xent_loss}
# Peak rates of AdamW; what is pretrained must not be forgotten.
_RATE, _TUNED_RATE, _WARMUP = 2e-3, 2e-4, 0.1
# Of the steps: when the probes look.
_PROBED = (0.0, 1 / 6, 1 / 3, 2 / 3, 1.0)
# Images whose embedding is looked at, the same every time.
_LOOKED_AT = 512
_SAVED_EVERY_S = 30.0
_CHUNK_BYTES = 32 * 2**20


@dataclasses.dataclass
class _Arm:
    """How far an arm is: the document of its checkpoint.

    Attributes:
        total: Steps of a whole pretraining.
        step: Steps done.
        points: Of the probes, in their order.
        stopped: Why it goes no further; empty where it may.
        seconds: Of the stage, up to this checkpoint.
        goal: Share of `total` that it goes to after the try-out; 0 until that is known.
    """

    total: int
    step: int = 0
    points: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0
    goal: float = 0.0


class Learner:
    """A network that learns without labels, by one loss or by the other."""

    def __init__(
        self,
        recipe: Recipe,
        info: DatasetInfo,
        images: TwinImages,
        policy: Policy,
        probe: Probe,
        folder: Path,
        seed: int,
        watch: Stopwatch,
    ) -> None:
        """Builds the network; compiles at the first call.

        Args:
            recipe: Complete; its network is trained.
            info: Of the dataset.
            images: That are learned.
            policy: Of the views.
            probe: Asks the network.
            folder: Of these arms alone; outlives a killed task.
            seed: Of weights and augmentation.
            watch: Of the stage.
        """
        self._images, self._probe, self._watch = images, probe, watch
        self._folder = kept_folder(folder)
        # By this process: their checkpoints may hold its seconds, which the watch counts itself.
        self._met: set[str] = set()
        whole, _, settings = build_trainer(
            recipe, info, seed, dropout=0.0, ema_momentum=0.0, optimizer="adamw"
        )
        self.model = whole.model
        self._rate = _TUNED_RATE if starts_pretrained(recipe) else _RATE
        own = dataclasses.replace(settings, weight_decay=1e-4, clip_norm=1.0, label_smoothing=0.0)
        # The variables of the network are of this strategy.
        with whole.strategy.scope():
            self._task = TwinTask(list(ARMS.values()))
            twin = add_projector(self.model)
            # A Trainer reads the loss of its task alone.
            task: Any = self._task
            self._trainer = Trainer(twin, task, own, policy=policy, seed=seed)
        self._initial = self._trainer.state()
        self._read = feature_reader(self.model)
        pixels = images.take(0, 1)[0]
        affordable = max(1, _CHUNK_BYTES // pixels.nbytes)
        self._steps_per_call = min(settings.steps_per_call, affordable)

    def plan(self, wanted: int, seconds: Callable[[], float]) -> int:
        """Returns the steps of an arm, which are fixed for ever by the first process.

        Args:
            wanted: Steps where time is no limit.
            seconds: That an arm may take, asked once the step is compiled.
        """
        for name in ARMS:
            if held := read_checkpoint(self._path(name)):
                return int(held[1]["total"])
        pixels, targets = self._images.take(0, 1)
        first = {key: value[0] for key, value in targets.items()}
        step_s = seconds_per_step(self._trainer, pixels[0], first)
        return max(2, int(min(wanted, seconds() / step_s)))

    def settle(self, name: str, share: float) -> float:
        """Returns the share of its steps that an arm goes to, which the first process fixes, too.

        Args:
            name: Of an arm that has begun.
            share: That there is time for in this process.
        """
        state, arm = self._held(name)
        if not arm.goal:
            arm.goal = share
            write_checkpoint(self._path(name), state, dataclasses.asdict(arm))
        return arm.goal

    def advance(self, name: str, share: float, total: int) -> ArmResult:
        """Trains an arm up to a share of its steps, unless it has collapsed.

        Returns:
            The arm as it was there, however far an earlier process has come.

        Args:
            name: Of the arm.
            share: In [0, 1].
            total: All steps.
        """
        begun = self._path(name).exists()
        state, arm = self._held(name) if begun else (self._initial, _Arm(total))
        self._trainer.restore(state)
        if name not in self._met:
            self._watch.resume(arm.seconds)
            self._met.add(name)
        self._task.use(list(ARMS).index(name))
        ends = [round(part * arm.total) for part in _PROBED if part <= share]
        with Progress(f"learn without labels: {name}", arm.total, "steps", arm.step) as progress:
            for place, end in enumerate(ends):
                if len(arm.points) > place or arm.stopped:
                    continue
                self._train(name, arm, end, progress)
                if not arm.stopped:
                    self._look(arm)
                self._save(name, arm)
        points = [ProbePoint(**each) for each in arm.points[: len(ends)]]
        stopped = arm.stopped if arm.step <= ends[-1] else ""
        seen = 2 * self._images.batch_size * min(arm.step, ends[-1])
        return ArmResult(name, points, stopped, seen)

    def weights(self, name: str) -> list[np.ndarray]:
        """Returns the weights of the whole model after an arm, its head as it was made."""
        self._trainer.restore(self._held(name)[0])
        self._trainer.recalibrate_batch_norm(self._images.plain_batches(STATISTICS_BATCHES))
        return [np.array(each) for each in self.model.weights]

    def _held(self, name: str) -> tuple[list[np.ndarray], _Arm]:
        """Returns the state of an arm at its checkpoint, and how far it is."""
        held = read_checkpoint(self._path(name))
        if held is None:
            raise FileNotFoundError(f"The arm must have begun. Received: {name}")
        return held[0], _Arm(**held[1])

    def _train(self, name: str, arm: _Arm, end: int, progress: Progress) -> None:
        starts = range(arm.step, end, self._steps_per_call)
        spans = ((start, min(self._steps_per_call, end - start)) for start in starts)
        saved = time.monotonic()
        for pixels, targets in prefetch(lambda span: self._images.take(*span), spans):
            steps = np.arange(arm.step, arm.step + len(pixels))
            warmup = int(_WARMUP * arm.total)
            rates = warmup_cosine(steps, self._rate, warmup, arm.total).astype(np.float32)
            losses = self._trainer.run_steps(pixels, targets, rates).losses
            arm.step += len(pixels)
            if not np.isfinite(losses).all():
                arm.stopped = f"the loss is not finite after {arm.step:,} steps"
                return
            progress.update(arm.step, loss=round(float(losses.mean()), 4))
            if time.monotonic() - saved > _SAVED_EVERY_S:
                self._save(name, arm)
                saved = time.monotonic()

    def _look(self, arm: _Arm) -> None:
        """Asks the probes, and stops an arm that has collapsed."""
        pixels = self._images.sample(_LOOKED_AT)
        parts = [self._trainer.outputs(each) for each in pixels]
        spread = describe_spread(np.concatenate(parts))
        if arm.step and spread.collapse:
            arm.stopped = f"{spread.collapse}, after {arm.step:,} steps"
            if not spread.variance:
                return
        linear, nearest, loss = self._probe(self._read)
        passes = arm.step * self._images.batch_size / len(self._images)
        point = ProbePoint(passes, linear, nearest, loss, **dataclasses.asdict(spread))
        arm.points.append(dataclasses.asdict(point))

    def _save(self, name: str, arm: _Arm) -> None:
        arm.seconds = self._watch.seconds
        write_checkpoint(self._path(name), self._trainer.state(), dataclasses.asdict(arm))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.lower().replace(' ', '_')}.npz"
