"""Tasks of objects as far as an import knows them: their columns."""

from collections.abc import Sequence

import pyarrow as pa

from kfp_vision.components.shared.tasks import TaskFacts

_OBJECTS = (
    pa.field("boxes", pa.list_(pa.float32())),
    pa.field("box_classes", pa.list_(pa.int32())),
    pa.field("crowd", pa.list_(pa.bool_())),
)


class Detection:
    columns: Sequence[pa.Field] = _OBJECTS


class InstanceSegmentation:
    columns = (*_OBJECTS, pa.field("segments", pa.list_(pa.binary())))


class Keypoints:
    columns = (*_OBJECTS, pa.field("keypoints", pa.list_(pa.float32())))


FACTS = {
    name: TaskFacts(f"{__name__}:{kind.__name__}", ("score",), "", unweighted_reason="none.")
    for name, kind in (
        ("detection", Detection),
        ("instance_segmentation", InstanceSegmentation),
        ("keypoints", Keypoints),
    )
}
