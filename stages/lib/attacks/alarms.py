"""What tells that an attack says nothing of a model's robustness, because it failed (Carlini et al. 2019, 1902.06705).

Each rule takes who was right, bool N, under two conditions on the same images, and gives an `Alarm` or None. "Beyond
the paired interval" is 1.96 standard errors of the mean of paired differences.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stages.lib.errors import StudyError
from stages.lib.schema.attack import ALARMS

MOST_ZERO_GRADIENTS = 0.01  # of the images; Athalye et al. 2018 (arXiv 1802.00420)
MOST_LEFT = 0.02  # of the images, right under an attack that nothing should survive
RESCALING_MARGIN = 0.02  # ordinary models move a little when their logits are rescaled


@dataclass(frozen=True)
class Alarm:
    """A reason to disbelieve the figures, under the name by which params can accept it."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        if self.name not in ALARMS:
            raise ValueError(f"{self.name} is no alarm's name")


def clearly_fewer(right: np.ndarray, others: np.ndarray, margin: float = 0.0) -> bool:
    """Whether `right` holds for fewer images than `others`, by more than `margin` and the paired interval."""
    fewer = others.astype(float) - right.astype(float)
    if len(fewer) < 2:
        return False
    error = 1.96 * fewer.std(ddof=1) / np.sqrt(len(fewer))
    return bool(fewer.mean() > margin and fewer.mean() - error > 0)


def zero_gradients(zero: int, images: int) -> Alarm | None:
    """More than 1 % of the images have a gradient that is zero everywhere."""
    if zero <= MOST_ZERO_GRADIENTS * images:
        return None
    return Alarm("zero_gradients", f"the input gradient of {zero} of {images} images is zero; lower the logits' scale")


def not_clean_at_zero(differ: int, images: int) -> Alarm | None:
    """Epsilon 0 gives other predictions than no attack."""
    if not differ:
        return None
    return Alarm("not_clean_at_zero", f"{differ} of {images} predictions at epsilon 0 are not those on clean images")


def rises_with_epsilon(ladder: dict[int, np.ndarray], chance: float) -> Alarm | None:
    """A larger epsilon leaves more images right than the one before it, which is above chance."""
    for (low, before), (high, after) in pairwise(ladder.items()):
        if before.mean() > chance and clearly_fewer(before, after):
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
    """An attack that ought to be weak leaves fewer images right than one that ought to be strong, at some epsilon."""
    for epsilon_255, right in weak_right.items():
        others = strong_right[epsilon_255]
        if clearly_fewer(right, others, margin):
            return Alarm(
                name,
                f"{weak} leaves {right.mean():.3f} right at epsilon {epsilon_255}/255, fewer than {strong}'s "
                f"{others.mean():.3f}, on {len(right)} images",
            )
    return None


def some_left(right: np.ndarray, epsilon_255: int) -> Alarm | None:
    """Images stay right under projected gradient descent with an epsilon that nothing should survive."""
    if right.mean() <= MOST_LEFT:
        return None
    return Alarm(
        "pgd_leaves_some",
        f"{right.mean():.3f} of the images stay right under PGD at epsilon {epsilon_255}/255; if classes are further "
        "apart than that, raise attack.pgd.large_epsilon_255",
    )


def accepted(alarms: Iterable[Alarm | None], accept: Iterable[str], stage: str = "attack") -> list[Alarm]:
    """The alarms that there are; StudyError, with all reasons, unless every one of them is accepted by name."""
    raised = [alarm for alarm in alarms if alarm is not None]
    refused = [alarm for alarm in raised if alarm.name not in set(accept)]
    if refused:
        reasons = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in refused)
        names = ", ".join(dict.fromkeys(alarm.name for alarm in refused))
        raise StudyError(
            f"{stage}: the figures would not be sound ({reasons}); mend the model, or take them with the reason beside "
            f"by attack.accept: [{names}]"
        )
    return raised


def by_name(alarms: Iterable[Alarm]) -> dict[str, str]:
    """Why, by the alarms' names, for JSON; one that is due more than once has all its reasons."""
    found: dict[str, str] = {}
    for alarm in alarms:
        found[alarm.name] = "; ".join(filter(None, [found.get(alarm.name), alarm.reason]))
    return found
