"""What every stage needs: the one table that the compiled pipeline and the runners read.

CPUs are requested and not limited: what is idle on a node may be used. Memory is both, so that a
task that takes more ends alone. The memory of a stage holds its shared memory too.
"""

import dataclasses
import math

from kfp_vision.components.shared.runtime.container_images import Target

__all__ = ["BACK_OFF_FACTOR", "BACK_OFF_S", "RUN_HOURS", "STAGES", "TTL_HOURS", "Resources"]

# A retry waits this long, the next one twice as long, and so on.
BACK_OFF_S, BACK_OFF_FACTOR = 60, 2
# Limit of a whole run, above every window of retries, and how long Kubernetes keeps its objects and
# pod logs afterwards.
RUN_HOURS, TTL_HOURS = 28 * 24, 7 * 24


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a task needs.

    Attributes:
        image: Target of the Dockerfile; `gpu` also asks for the accelerators of the profile.
        cpus: Cores; may be a fraction.
        memory_gib: Memory, GiB.
        shm_gib: Limit of `/dev/shm`, GiB.
        disk_gib: Limit of `/tmp`, GiB: scratch files, without the artifacts.
        retries: Attempts after the first one.
        hours: Limit of one attempt.
    """

    image: Target
    cpus: float
    memory_gib: float
    shm_gib: float
    disk_gib: float
    retries: int
    hours: float

    def __post_init__(self) -> None:
        """Refuses what no cluster can give."""
        amounts = {
            name: value for name, value in vars(self).items() if name not in ("image", "retries")
        }
        for name, value in amounts.items():
            if not 0 < value < math.inf:
                raise ValueError(f"`{name}` must be positive and finite. Received: {value}")
        if self.retries < 0:
            raise ValueError(f"`retries` must not be negative. Received: {self.retries}")
        if self.shm_gib >= self.memory_gib:
            raise ValueError(
                f"`shm_gib` must be below `memory_gib`, which holds it. "
                f"Received: {self.shm_gib} of {self.memory_gib}"
            )

    @property
    def retry_window_s(self) -> int:
        """Seconds from the first start in which all attempts fit, each of full length.

        Argo retries nothing after this time, and ends an attempt that is running.
        """
        waits = BACK_OFF_S * (BACK_OFF_FACTOR**self.retries - 1)
        # An hour more for scheduling and pulling the image, each time.
        return math.ceil((self.retries + 1) * (self.hours + 1) * 3600) + int(waits)


# Memory and CPUs of the stages that train fit a node of 4 cores and 16 GiB. Trainings resume from
# their checkpoint, so a retry is cheap. A gate fails because it should: no retry. The
# first task meets misspelt URIs and wrong keys, and has done nothing yet: one.
# fmt: off
STAGES: dict[str, Resources] = {
    #                                image cpus memory   shm  disk retries hours
    "list_sources":        Resources("cpu", 0.5,   2,  0.05,    1,   1,    2),
    "decide_retraining":   Resources("cpu", 0.5,   8,  0.05,   20,   3,    2),
    "import_dataset":      Resources("cpu",   2,   8,  0.25,   20,   3,   24),
    "profile_dataset":     Resources("cpu",   2,   8,  0.25,   10,   3,   12),
    "check_profile":       Resources("cpu", 0.5,   1,  0.05,    1,   0,    1),
    "choose_network":      Resources("gpu",   3,  12,     1,   20,   3,   24),
    "probe_batch_size":    Resources("gpu",   3,  12,     1,   20,   3,   12),
    "search_policy":       Resources("gpu",   3,  12,     1,   20,   5,   72),
    "search_augmentation": Resources("gpu",   3,  12,     1,   20,   3,   24),
    "propose_first_trials": Resources("cpu", 0.5,  1,  0.05,    1,   3,    1),
    "propose_next_trials": Resources("cpu", 0.5,   1,  0.05,    1,   3,    1),
    "run_trials":          Resources("gpu",   3,  12,     1,   20,   5,   48),
    "decide_trials":       Resources("cpu",   1,   4,  0.05,    1,   3,    1),
    "train_model":         Resources("gpu",   3,  12,     1,   20,   5,   72),
    "train_model_alone":   Resources("gpu",   3,  12,     1,   20,   5,   72),
    "train_members":       Resources("gpu",   3,  12,     1,   20,   5,   48),
    "teach_model":         Resources("gpu",   3,  12,     1,   20,   5,   48),
    "evaluate_model":      Resources("gpu",   3,  12,     1,   20,   3,   12),
    "export_model":        Resources("cpu",   2,   8,  0.25,   10,   3,   12),
    "publish":             Resources("cpu",   1,   2,  0.05,    2,   3,    2),
    "check_model":         Resources("cpu", 0.5,   1,  0.05,    1,   0,    1),
}
# fmt: on
