"""Findings: what the user should know about the data, and what stops the pipeline."""

from collections.abc import Callable, Mapping, Sequence

from kfp_vision.components.data_profiling import (
    class_rules,
    copy_rules,
    object_rules,
    split_rules,
)
from kfp_vision.components.data_profiling.images import Images
from kfp_vision.components.data_profiling.measurements import Measurements, Observation
from kfp_vision.components.shared.artifacts.data_profile import Example, Finding

__all__ = ["RULES", "find", "not_accepted", "split_codes"]

# Code -> rule. The code is what a user accepts a finding by, so it never changes.
RULES: Mapping[str, Callable[[Measurements], Observation | None]] = {
    "missing_split": split_rules.missing_split,
    "no_objects": object_rules.no_objects,
    "test_one_class": split_rules.test_one_class,
    "test_too_small": split_rules.test_too_small,
    "identical_images": copy_rules.identical_images,
    "leakage_exact": copy_rules.leakage_exact,
    "class_not_in_train": class_rules.class_not_in_train,
    "one_class": class_rules.one_class,
    "validation_one_class": split_rules.validation_one_class,
    "validation_too_small": split_rules.validation_too_small,
    "few_distinct_images": split_rules.few_distinct_images,
    "unreadable_files": class_rules.unreadable_files,
    "conflicting_labels": copy_rules.conflicting_labels,
    "leakage_near": copy_rules.leakage_near,
    "duplicates_exact": copy_rules.duplicates_exact,
    "duplicates_near": copy_rules.duplicates_near,
    "imbalance": class_rules.imbalance,
    "few_images": class_rules.few_images,
    "empty_class": class_rules.empty_class,
    "class_not_in_test": class_rules.class_not_in_test,
    "class_not_in_validation": class_rules.class_not_in_validation,
    "label_in_every_image": class_rules.label_in_every_image,
    "constant_images": class_rules.constant_images,
    "small_set": class_rules.small_set,
    "no_unlabeled_images": split_rules.no_unlabeled_images,
    "objects_clipped": object_rules.objects_clipped,
    "objects_left_out": object_rules.objects_left_out,
    "more_objects_than_found": object_rules.more_objects_than_found,
    "objects_of_two_classes": object_rules.objects_of_two_classes,
    "objects_twice": object_rules.objects_twice,
    "tiny_objects": object_rules.tiny_objects,
}
# Of labels that say nothing of where in the image: others differ where all images have the same.
_OF_WHOLE_IMAGES = {
    "label_in_every_image",
    "one_class",
    "test_one_class",
    "test_too_small",
    "validation_one_class",
    "validation_too_small",
}


def find(measured: Measurements, images: Images, classes: Sequence[str]) -> list[Finding]:
    """Returns what the rules find, `fail` first, each with thumbnails of its examples."""
    left_out = _OF_WHOLE_IMAGES if measured.is_spatial else ()
    observed = {code: rule(measured) for code, rule in RULES.items() if code not in left_out}
    findings = [
        Finding(
            code,
            seen.level,
            seen.message,
            seen.count,
            _examples(seen, images, classes),
            seen.acceptable,
        )
        for code, seen in observed.items()
        if seen is not None
    ]
    return sorted(findings, key=lambda finding: finding.level != "fail")


def _examples(observation: Observation, images: Images, classes: Sequence[str]) -> list[Example]:
    return [
        Example(
            path=images.path(row),
            split=str(images.split[row]),
            label=", ".join(classes[label] for label in images.labels(row)),
            thumbnail=images.picture(row),
        )
        for row in observation.rows
    ]


def split_codes(accept_findings: str) -> list[str]:
    """Returns the codes of findings in a text.

    Raises:
        ValueError: It holds what is not the code of any finding.
    """
    codes = [code.strip() for code in accept_findings.split(",") if code.strip()]
    unknown = sorted(set(codes) - set(RULES))
    if unknown:
        raise ValueError(
            f"`accept_findings` must be codes among {sorted(RULES)}, joined by commas. "
            f"Received: {unknown}"
        )
    return codes


def not_accepted(findings: Sequence[Finding], accept: Sequence[str]) -> list[Finding]:
    """Returns the findings that stop the pipeline: not accepted, or not to be accepted at all."""
    return [
        finding
        for finding in findings
        if finding.level == "fail" and not (finding.acceptable and finding.code in accept)
    ]
