"""Adjusts p-values and intervals for the number of differences in a family, so that both tell the same.

The p-values are Holm's (1979): the probability that one or more of the family's tests finds a difference that does not
exist is at most `LEVEL`. The intervals are simultaneous: they all hold their true values in about 95 % of studies. Each
is Bonferroni's. Holm's method can find a difference although Bonferroni's interval holds both signs; then the interval
ends at zero. So an interval has zero inside exactly if the difference is not distinguishable from chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustness_study.results.intervals import varies
from robustness_study.statistics import Estimate, holm

LEVEL = 0.05


@dataclass(frozen=True)
class Adjusted:
    """What is known of one difference of a family."""

    p_holm: float | None  # None if it is not tested: for one seed, or if nothing varies
    simultaneous_95: tuple[float, float] | None  # for one seed: its own, over images alone; None if nothing varies
    smallest_detectable: float | None  # found with a probability of about 0.7 to 0.8; None if not tested

    def sign_of(self, mean: float) -> int:
        """1 or −1 if a difference of `mean` can be distinguished from chance, else 0."""
        if self.p_holm is None or self.p_holm >= LEVEL:
            return 0
        return 1 if mean > 0 else -1


def adjust(family: Sequence[Estimate], over_images: bool = False) -> list[Adjusted]:
    """The adjusted results of every difference of a family, in the same order.

    With one seed, nothing is adjusted, as nothing is known of other seeds. With `over_images`, differences between
    single models are tested all the same: chance is then the choice of the images alone. A difference whose scores do
    not vary is not tested, as chance cannot be estimated; it still counts in the number of tests.
    """
    if not over_images and any(found.n == 1 for found in family):
        return [Adjusted(None, found.interval_95 if varies(found) else None, None) for found in family]
    adjusted = holm([found.p_value if varies(found) else 1.0 for found in family])  # rounding has no p-value
    return [_adjusted(found, p_holm, LEVEL / len(family)) for found, p_holm in zip(family, adjusted, strict=True)]


def _adjusted(found: Estimate, p_holm: float, level: float) -> Adjusted:
    """One difference; `level` is Bonferroni's, which is also the strictest of Holm's."""
    if not varies(found):
        return Adjusted(None, None, None)
    half_width = found.error.half_width(level)
    low, high = found.mean - half_width, found.mean + half_width
    if p_holm >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)  # by rounding, zero could be outside
    elif found.mean > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    low, high = max(low, -1.0), min(high, 1.0)  # no difference between two accuracies is further from zero
    return Adjusted(p_holm, (low, high), found.error.smallest_detectable(half_width))
