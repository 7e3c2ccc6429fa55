"""Alarms: signs that an attack failed, so that its results overstate robustness.

The rules follow Carlini et al. 2019 (arXiv 1902.06705). Most rules get two arrays, bool N: which images the model
classifies correctly under two conditions. They return an `Alarm` or None. McNemar's exact test on the same images
decides whether clearly fewer images are correct. It also holds for few images. This file imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.core.errors import StudyError
from robustness_study.statistics import mcnemar, wilson_interval

MOST_ZERO_GRADIENTS = 0.01  # share of images; Athalye et al. 2018 (arXiv 1802.00420)
MOST_LEFT = 0.02  # share of images that may stay correct under an attack that nothing should survive
MOST_DIFFERENT = 0.001  # share of images; two logits that differ by rounding only can swap when the batch changes
LEVEL = 0.05  # significance level of McNemar's test
NAMES = (*ALARMS, "transfer_stronger")  # attacks/transfer.py raises the last one


@dataclass(frozen=True)
class Alarm:
    """A reason not to trust the results. `name` is what `accept` in params.yaml lists to keep them all the same."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise StudyError(
                f"{self.name} is not the name of an alarm; add it to `alarms` of its entry in attacks/catalogue.py"
            )


def clearly_fewer(correct: np.ndarray, others: np.ndarray, margin: float = 0.0) -> bool:
    """Whether clearly fewer images are correct in `correct` than in `others`, bool N each, on the same images.

    The accuracy must be lower by more than `margin`, and McNemar's test must reject equality.
    """
    return bool(others.mean() - correct.mean() > margin and mcnemar(correct, others) < LEVEL)


def zero_gradients(zero: int, images: int, name: str = "zero_gradients", of: str = "of the model") -> Alarm | None:
    """Alarm if more than 1 % of the images have a gradient that is zero everywhere. `of` says whose gradient it is."""
    if zero <= MOST_ZERO_GRADIENTS * images:
        return None
    return Alarm(
        name,
        f"the input gradient {of} is zero for {zero} of {images} images, so an attack cannot use it at any epsilon and "
        "robust accuracy is overstated. Lower the scale of the logits",
    )


def not_clean_at_zero(differ: int, images: int) -> Alarm | None:
    """Alarm if predictions at epsilon 0 differ from those of the stage `evaluate` for more than 0.1 % of the images."""
    if differ <= MOST_DIFFERENT * images:
        return None
    return Alarm(
        "not_clean_at_zero",
        f"{differ} of {images} predictions at epsilon 0 differ from those of the stage evaluate. No pixel changes at "
        "epsilon 0, so the two stages did not compute the same thing and no accuracy under attack can be trusted",
    )


def rises_with_epsilon(ladder: dict[int, np.ndarray], chance: float) -> Alarm | None:
    """Alarm if clearly more images are correct at a larger epsilon of FGSM than at a smaller one.

    `ladder` maps epsilon in units of 1/255, rising, to which images are correct, bool N. The accuracy at the smaller
    epsilon must be clearly above `chance`, in [0, 1]: the lower end of its 95 % interval decides.
    """
    for (low, before), (high, after) in combinations(ladder.items(), 2):
        above_chance = wilson_interval(float(before.mean()), len(before))[0] > chance
        if above_chance and clearly_fewer(before, after):
            return Alarm(
                "rises_with_epsilon",
                f"under FGSM, accuracy rises from {before.mean():.3f} at epsilon {low}/255 to {after.mean():.3f} at "
                f"epsilon {high}/255 ({len(after)} images). A larger epsilon should not raise it, so the attack failed "
                "and robust accuracy is overstated",
            )
    return None


def stronger(
    name: str,
    weak: str,
    strong: str,
    weak_correct: dict[int, np.ndarray],
    strong_correct: dict[int, np.ndarray],
    margin: float = 0.0,
) -> Alarm | None:
    """Alarm if clearly fewer images are correct under a supposedly weak attack than under a strong one, at any epsilon.

    `weak` and `strong` say in words what the two attacks are. The other two dictionaries map epsilon in units of 1/255
    to which images are correct, bool N. The reason names the epsilon with the largest difference.
    """
    gains = {
        epsilon_255: strong_correct[epsilon_255].mean() - correct.mean()
        for epsilon_255, correct in weak_correct.items()
        if clearly_fewer(correct, strong_correct[epsilon_255], margin)
    }
    if not gains:
        return None
    worst = max(gains, key=gains.__getitem__)
    correct, others = weak_correct[worst], strong_correct[worst]
    return Alarm(
        name,
        f"accuracy at epsilon {worst}/255 is {correct.mean():.3f} under {weak} but {others.mean():.3f} under {strong} "
        f"({len(correct)} images), so the second value overstates robustness",
    )


def some_left(correct: np.ndarray, epsilon_255: int) -> Alarm | None:
    """Alarm if more than 2 % of the images stay correct under PGD with an epsilon that nothing should survive.

    `correct` says which images are correct, bool N.
    """
    if correct.mean() <= MOST_LEFT:
        return None
    return Alarm(
        "pgd_leaves_some",
        f"under PGD at epsilon {epsilon_255}/255, accuracy is still {correct.mean():.3f} ({len(correct)} images). It "
        "should be almost 0, so robust accuracy is overstated. If the classes differ by more than this epsilon, raise "
        "attack.attacks.pgd.large_epsilon_255",
    )


def accepted(alarms: Iterable[Alarm], accept: Iterable[str], stage: str = "attack") -> list[Alarm]:
    """Return all alarms, if every one of them is accepted by name.

    Raises StudyError, with the reasons of all alarms that are not accepted.
    """
    raised = list(alarms)
    refused = [alarm for alarm in raised if alarm.name not in set(accept)]
    if refused:
        reasons = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in refused)
        names = ", ".join(dict.fromkeys(alarm.name for alarm in refused))
        raise StudyError(
            f"{stage}: the results cannot be trusted ({reasons}); change the model, or keep the results with a "
            f"warning in the report: in params.yaml, add to {stage}.accept: [{names}]"
        )
    return raised


def by_name(alarms: Iterable[Alarm]) -> dict[str, str]:
    """The reasons, by alarm name, for JSON. If an alarm was raised several times, its reasons are joined by "; "."""
    found: dict[str, str] = {}
    for alarm in alarms:
        found[alarm.name] = "; ".join(filter(None, [found.get(alarm.name), alarm.reason]))
    return found
