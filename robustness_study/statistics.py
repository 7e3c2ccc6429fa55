"""What can be said of a mean over seeds and images, and of a difference between two.

A value is a mean over S seeds and N images. Other seeds would give another value, and so would other images; all seeds
share the test images. The variance of the value has three parts: that of seeds, that of images, and noise that is
neither's. A two-way analysis of variance separates them, and each is counted once. A bootstrap over seeds and images at
once would count the noise three times (Owen 2007, "The pigeonhole bootstrap").

With few seeds the part of the seeds is itself uncertain, so the error is √images · Z + √seeds · T, with Z normal and T
Student's with S − 1 degrees of freedom (Behrens 1929, Fisher 1935). The interval is wide but safe, also for very small
p-values, which a family of tests needs. With one seed it covers the images alone. No interval covers how the images
were corrupted: that was done once for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRID = np.linspace(-8, 8, 1001)  # of a normal variable
DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, with its spread."""

    mean: float
    std: float | None  # over seeds, ddof = 1; None for one seed
    n: int  # seeds
    standard_error: float
    interval_95: tuple[float, float]
    p_value: float  # two-sided, of the hypothesis that the mean is zero


def estimate(parts: Sequence[np.ndarray], shared: Sequence[bool]) -> Estimate:
    """The sum of the means of `parts`, each the scores S×N of one set of images, each set with images of its own.

    `shared` says of each part whether all seeds have the same images, as they have of a test set.
    """
    by_seed = np.sum([part.mean(1, dtype=np.float64) for part in parts], axis=0)  # (S,)
    seeds = len(by_seed)
    variances = [variances_of(part, same) for part, same in zip(parts, shared, strict=True)]
    of_images = sum(common / part.shape[1] for (common, _), part in zip(variances, parts, strict=True))
    noise = sum(noise / part.size for (_, noise), part in zip(variances, parts, strict=True))
    # The spread between seeds shows the noise as well; by chance it may show less of it than there must be.
    of_seeds = max(float(by_seed.var(ddof=1)) / seeds, noise) if seeds > 1 else 0.0
    error = Error(math.sqrt(of_images), math.sqrt(of_seeds), seeds - 1)
    mean, half = float(by_seed.mean()), error.half_width_95()
    return Estimate(
        mean=mean,
        std=float(by_seed.std(ddof=1)) if seeds > 1 else None,
        n=seeds,
        standard_error=math.hypot(error.images, error.seeds),
        interval_95=(mean - half, mean + half),
        p_value=error.p_value(mean),
    )


def variances_of(scores: np.ndarray, shared: bool) -> tuple[float, float]:
    """The variance of scores S×N that images have in common over seeds, and that of what is left, the noise.

    Of one seed all of it counts as the former. Of several seeds on the same images they are those of a two-way
    analysis of variance; on images of each seed's own, nothing is in common.
    """
    seeds, images = scores.shape
    if images < 2:
        return 0.0, 0.0
    if seeds == 1:
        return float(scores[0].var(ddof=1, dtype=np.float64)), 0.0
    if not shared:
        return 0.0, float(scores.var(1, ddof=1, dtype=np.float64).mean())
    of_image = scores.mean(0, dtype=np.float64)
    residuals = scores - of_image - scores.mean(1, dtype=np.float64)[:, None] + of_image.mean()
    noise = float((residuals**2).sum()) / ((seeds - 1) * (images - 1))
    return max(0.0, float(of_image.var(ddof=1)) - noise / seeds), noise


@dataclass(frozen=True)
class Error:
    """The distribution of images · Z + seeds · T, Z normal and T Student's with `freedom` degrees."""

    images: float
    seeds: float
    freedom: int

    def p_value(self, mean: float) -> float:
        """How likely it is at least as far from zero as `mean`, on either side."""
        from scipy.special import ndtr, stdtr

        distance = abs(mean)
        if distance == 0 or self.images == self.seeds == 0:
            return 1.0  # where nothing varies there is nothing to tell chance by
        if self.seeds == 0:
            return 2 * float(ndtr(-distance / self.images))
        beyond = stdtr(self.freedom, -(distance - self.images * GRID) / self.seeds)  # for each value of Z
        return min(1.0, 2 * float(beyond @ DENSITY))

    def half_width_95(self) -> float:
        """Half-width of the 95 % interval."""
        from scipy.optimize import brentq
        from scipy.special import stdtrit

        if self.images == self.seeds == 0:
            return 0.0
        widest = 2 * self.images + (float(stdtrit(self.freedom, 0.975)) * self.seeds if self.seeds else 0.0)
        return float(brentq(lambda half: self.p_value(half) - 0.05, 1e-3 * widest, 2 * widest, xtol=1e-9 * widest))


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The exact p-value that two classifiers are equally often right on the same N images, bool each (McNemar 1947)."""
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that a family of tests errs with the level of one, in the order given (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return adjusted.tolist()


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share among `images` independent images (Wilson 1927).

    scipy has it for whole numbers of successes; a mean over seeds is none, and its call takes 145 times as long.
    """
    z = 1.959963984540054  # the normal distribution's 97.5 % point
    centre = (accuracy + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(accuracy * (1 - accuracy) / images + z**2 / (4 * images**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def half_width(images: int) -> float:
    """Half-width of the 95 % interval of a share among `images` images, at its widest (a share of one half)."""
    low, high = wilson_interval(0.5, images)
    return (high - low) / 2
