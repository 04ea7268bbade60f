"""Whether a model passes: its paired differences from every baseline, in one sentence.

A difference is clear when its interval does not hold 0. The intervals against all baselines hold
together, so the best of them can be picked by the images that measure it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from kfp_vision.components.evaluation.bootstrap import Scores
from kfp_vision.components.shared.report.figures import label_within

__all__ = ["Verdict", "judge"]

# What no model may fail to beat; a tie with another baseline is only said.
_FLOOR = "zero_rule"
# What a model may be below without being rejected: not a fault of the model but a reason to start
# from a pretrained network.
_PRETRAINED = "frozen_features"
_ADVICE = "Features of a pretrained network suit these images better."
_COMPARE = "`--architecture auto` compares such networks with others."
_SAME = "`frozen_features` is the same method as this model, a frozen network with a linear head."
# Balanced accuracy rests on the few images of rare classes. Where it cannot tell two models apart,
# these metrics, in this order, may.
_TIE_BREAKERS = {"balanced_accuracy": ("auroc", "accuracy")}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the comparison says.

    Attributes:
        outcome: `better` than every baseline, `indistinguishable` from one, `outperformed` by
            pretrained features, or `rejected`.
        baseline: The best one in the primary metric; empty when the metric is not defined.
        sentence: The outcome with its figures.
        reasons: Why the model is rejected, one sentence each.
    """

    outcome: Literal["better", "indistinguishable", "outperformed", "rejected"]
    baseline: str
    sentence: str
    reasons: list[str]


def judge(
    primary: str,
    scores: Scores,
    baselines: Mapping[str, Scores],
    *,
    parts: Mapping[str, int] | None = None,
    is_frozen: bool = False,
    is_users: bool = True,
) -> Verdict:
    """Returns the verdict.

    Rejected is a model that is clearly below a baseline on pixels, or whose own interval is not
    above what the zero rule reaches: in these images that is known, and not sampled.

    Args:
        primary: The metric that decides.
        scores: Of the model on the test split.
        baselines: Name -> the same of a baseline, each with its `difference`.
        parts: Baseline -> the number of test images that it is compared on, where these are not
            all of them.
        is_frozen: Whether the model is a frozen network with a linear head: that it is level with
            `frozen_features` then says nothing against it.
        is_users: Whether the user has chosen the network.
    """
    if primary not in scores:
        reason = (
            f"The primary metric `{primary}` is not defined on the test split; defined are "
            f"{sorted(scores)}. Add test images of every class or choose another metric."
        )
        return Verdict("rejected", "", reason, [reason])
    parts = parts or {}
    # A part of the test images may leave the metric undefined.
    baselines = {name: rival for name, rival in baselines.items() if primary in rival}
    best = max(baselines, key=lambda name: baselines[name][primary]["value"])
    reasons, outperformed = [], ""
    for name, rival in baselines.items():
        if metric := _clearly_below(rival, (primary, *_TIE_BREAKERS.get(primary, ()))):
            sentence = f"The model is clearly below {_compare(name, metric, rival, parts)}"
            if name == _PRETRAINED:
                outperformed = " ".join([sentence, _ADVICE, *([_COMPARE] if is_users else [])])
            else:
                reasons.append(sentence)
        elif name == _FLOOR and scores[primary]["ci95"][0] <= rival[primary]["value"]:
            low, high = scores[primary]["ci95"]
            reasons.append(
                f"Test {label_within(primary)} {scores[primary]['value']:.4f} (95 % interval "
                f"{low:.4f} to {high:.4f}) is not clearly above {rival[primary]['value']:.4f}, "
                f"what the baseline `{name}` reaches without a look at the images."
            )
    if reasons:
        return Verdict("rejected", best, reasons[0], reasons)
    if outperformed:
        return Verdict("outperformed", best, outperformed, [])
    same = {_PRETRAINED} & baselines.keys() if is_frozen else set()
    others = {name: rival for name, rival in baselines.items() if name not in same}
    unclear = {name: rival for name, rival in others.items() if _sign(rival[primary]) != 1}
    if not unclear:
        closest = max(others, key=lambda name: others[name][primary]["value"])
        figures = _compare(closest, primary, others[closest], parts)
        every = "every other baseline" if same else "every baseline"
        sentence = f"The model is clearly better than {every}, the best of them is {figures}"
        return Verdict("better", best, f"{sentence} {_SAME}" if same else sentence, [])
    closest = max(unclear, key=lambda name: unclear[name][primary]["value"])
    sentence = (
        f"The model cannot be told from {_compare(closest, primary, unclear[closest], parts)} The "
        "difference may be chance; more test images would tell."
    )
    return Verdict("indistinguishable", best, sentence, [])


def _clearly_below(rival: Scores, metrics: tuple[str, ...]) -> str:
    """Returns the first metric whose difference is clear, where the model is below; else ''."""
    for metric in metrics:
        if metric in rival and (sign := _sign(rival[metric])):
            return metric if sign < 0 else ""
    return ""


def _sign(rival: Mapping[str, Any]) -> int:
    low, high = rival["difference"]["ci95"]
    return int(low > 0) - int(high < 0)


def _compare(name: str, metric: str, rival: Scores, parts: Mapping[str, int]) -> str:
    difference, theirs = rival[metric]["difference"], rival[metric]["value"]
    low, high = difference["ci95"]
    ours = theirs + difference["value"]
    part = f", on {parts[name]:,} of the test images for both," if name in parts else ""
    return (
        f"the baseline `{name}`: test {label_within(metric)}{part} {ours:.4f} against {theirs:.4f}"
        f", difference {difference['value']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})."
    )
