"""Tasks of objects as far as an import knows them: their columns."""

from kfp_vision.components.shared.tasks import TaskFacts

_OBJECTS = ("boxes", "box_classes", "crowd")

FACTS = {
    name: TaskFacts(
        f"{__name__}:", ("score",), "", unweighted_reason="none.", columns=(*_OBJECTS, *further)
    )
    for name, further in (
        ("detection", ()),
        ("instance_segmentation", ("segments",)),
        ("keypoints", ("keypoints",)),
    )
}
