"""Alarms: signs that an attack failed, so that its results do not show robustness (Carlini et al. 2019, 1902.06705).

Most rules are given which images were right, bool N, under two conditions, and return an `Alarm` or None. Whether fewer
images are right is decided by McNemar's exact test on the same images, which also holds for few images. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.core.errors import StudyError
from robustness_study.statistics import mcnemar, wilson_interval

MOST_ZERO_GRADIENTS = 0.01  # of the images; Athalye et al. 2018 (arXiv 1802.00420)
MOST_LEFT = 0.02  # of the images, right under an attack that nothing should survive
MOST_DIFFERENT = 0.001  # of the images: where two logits are equal but for rounding, a batch's other images decide
LEVEL = 0.05
NAMES = (*ALARMS, "transfer_stronger")  # the last is of transfer.py


@dataclass(frozen=True)
class Alarm:
    """A reason to disbelieve the figures, under the name by which params can accept it."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise StudyError(f"{self.name} is no alarm's name; add it to `alarms` of its entry in attacks/catalogue.py")


def clearly_fewer(right: np.ndarray, others: np.ndarray, margin: float = 0.0) -> bool:
    """Whether `right` holds for fewer images than `others`, by more than `margin` and the paired interval."""
    return bool(others.mean() - right.mean() > margin and mcnemar(right, others) < LEVEL)


def zero_gradients(zero: int, images: int, name: str = "zero_gradients", of: str = "of the model") -> Alarm | None:
    """More than 1 % of the images have a gradient that is zero everywhere."""
    if zero <= MOST_ZERO_GRADIENTS * images:
        return None
    return Alarm(name, f"the input gradient {of} is zero for {zero} of {images} images; lower the logits' scale")


def not_clean_at_zero(differ: int, images: int) -> Alarm | None:
    """Epsilon 0 gives other predictions than `evaluate` saw without an attack."""
    if differ <= MOST_DIFFERENT * images:
        return None
    return Alarm("not_clean_at_zero", f"{differ} of {images} predictions at epsilon 0 are not what evaluate saw")


def rises_with_epsilon(ladder: dict[int, np.ndarray], chance: float) -> Alarm | None:
    """A larger epsilon leaves more images right than a smaller one, which is above chance and its interval."""
    for (low, before), (high, after) in combinations(ladder.items(), 2):
        above_chance = wilson_interval(float(before.mean()), len(before))[0] > chance
        if above_chance and clearly_fewer(before, after):
            return Alarm(
                "rises_with_epsilon",
                f"accuracy rises from {before.mean():.3f} at epsilon {low}/255 to {after.mean():.3f} at {high}/255",
            )
    return None


def stronger(
    name: str,
    weak: str,
    strong: str,
    weak_right: dict[int, np.ndarray],
    strong_right: dict[int, np.ndarray],
    margin: float = 0.0,
) -> Alarm | None:
    """An attack that ought to be weak leaves fewer images right than one that ought to be strong, at some epsilon.

    The reason tells of the epsilon at which it gains most.
    """
    gains = {
        epsilon_255: strong_right[epsilon_255].mean() - right.mean()
        for epsilon_255, right in weak_right.items()
        if clearly_fewer(right, strong_right[epsilon_255], margin)
    }
    if not gains:
        return None
    worst = max(gains, key=gains.__getitem__)
    right, others = weak_right[worst], strong_right[worst]
    return Alarm(
        name,
        f"{weak} leaves {right.mean():.3f} right at epsilon {worst}/255, fewer than {strong} ({others.mean():.3f}), on "
        f"{len(right)} images",
    )


def some_left(right: np.ndarray, epsilon_255: int) -> Alarm | None:
    """Images stay right under projected gradient descent with an epsilon that nothing should survive."""
    if right.mean() <= MOST_LEFT:
        return None
    return Alarm(
        "pgd_leaves_some",
        f"{right.mean():.3f} of the images stay right under PGD at epsilon {epsilon_255}/255; if classes are further "
        "apart than that, raise attack.attacks.pgd.large_epsilon_255",
    )


def accepted(alarms: Iterable[Alarm], accept: Iterable[str], stage: str = "attack") -> list[Alarm]:
    """The alarms that there are; StudyError, with all reasons, unless every one of them is accepted by name."""
    raised = list(alarms)
    refused = [alarm for alarm in raised if alarm.name not in set(accept)]
    if refused:
        reasons = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in refused)
        names = ", ".join(dict.fromkeys(alarm.name for alarm in refused))
        raise StudyError(
            f"{stage}: the figures would not be sound ({reasons}); mend the model, or take them with the reason beside "
            f"by {stage}.accept: [{names}]"
        )
    return raised


def by_name(alarms: Iterable[Alarm]) -> dict[str, str]:
    """Why, by the alarms' names, for JSON; one that is due more than once has all its reasons."""
    found: dict[str, str] = {}
    for alarm in alarms:
        found[alarm.name] = "; ".join(filter(None, [found.get(alarm.name), alarm.reason]))
    return found
