"""Intervals and tests for a mean over seeds and images, and for a contrast: a difference between such means.

A value is a mean over S seeds and N images. Other seeds would give another value, and so would other images. All seeds
share the test images. The variance of the value has three parts: one from the seeds, one from the images, and noise
that belongs to neither. A two-way analysis of variance separates the parts, and each counts once. A bootstrap over
seeds and images together would count the noise three times (Owen 2007, "The pigeonhole bootstrap").

With few seeds, their part of the variance is itself uncertain. So the error has the distribution of
√(variance from images) · Z + √(variance from seeds) · T. Z is standard normal, and T is Student's t (Behrens 1929,
Fisher 1935). For one mean, T has S − 1 degrees of freedom. The interval is wide but safe. This also holds for very
small p-values, which a family of tests needs. With one seed, the interval covers the choice of images only. No interval
covers the random numbers of the corruptions, because the images were corrupted only once.

A contrast is a weighted sum of such means, one per cell. Here a cell is one loss and one training set, with all seeds.
The part from the seeds is the sum of the cells' variances, each times its weight squared. Cells may vary differently,
so the degrees of freedom of T are those of Welch (1947) and Satterthwaite (1946). All cells have the same test images,
so the part from the images comes from the contrast of each image's scores. Cells of one seed also share the split. What
all cells share cancels in a difference, so treating them as independent makes the interval wider than necessary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.959963984540054  # half-width of the interval that holds 95 % of a standard normal distribution
GRID = np.linspace(-8, 8, 1001)  # values of a standard normal variable
DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, with its standard deviation, standard error, interval and p-value."""

    mean: float
    std: float | None  # over seeds, ddof = 1; None for one seed
    n: int  # number of seeds
    standard_error: float
    interval_95: tuple[float, float]
    p_value: float  # two-sided; the null hypothesis is that the mean is zero
    error: Error


def estimate(parts: Sequence[np.ndarray], shared: Sequence[bool]) -> Estimate:
    """Estimate the sum of the means of `parts`. Each part holds the scores, S×N, of one set of images.

    No image is in two parts. For each part, `shared` says whether all seeds use the same images (true for a test set).
    """
    return contrast([parts], [1.0], shared)


def contrast(cells: Sequence[Sequence[np.ndarray]], weights: Sequence[float], shared: Sequence[bool]) -> Estimate:
    """Estimate the sum of the cells' means, each times its weight. Each cell has the parts that `estimate` takes.

    All cells have the same seeds and images, in the same order. `std` is that of the contrasts of the single seeds.
    """
    parts = [
        np.sum([weight * scores for weight, scores in zip(weights, of_cells, strict=True)], axis=0)
        for of_cells in zip(*cells, strict=True)
    ]  # the contrast of each image's scores, S×N
    by_seed = _means_by_seed(parts)
    seeds = len(by_seed)
    variances = [variances_of(part, same) for part, same in zip(parts, shared, strict=True)]
    of_images = sum(common / part.shape[1] for (common, _), part in zip(variances, parts, strict=True))
    noise = sum(noise / part.size for (_, noise), part in zip(variances, parts, strict=True))
    of_seeds, freedom = 0.0, 0.0
    if seeds > 1:
        of_cells = [
            weight**2 * float(_means_by_seed(cell).var(ddof=1)) / seeds
            for cell, weight in zip(cells, weights, strict=True)
        ]
        freedom = satterthwaite(of_cells, seeds - 1)
        # The variance between seeds includes the noise. By chance it can be smaller than the noise; then that counts.
        of_seeds = max(sum(of_cells), noise)
    error = Error(math.sqrt(of_images), math.sqrt(of_seeds), freedom)
    mean, half_width = float(by_seed.mean()), error.half_width_95()
    return Estimate(
        mean=mean,
        std=float(by_seed.std(ddof=1)) if seeds > 1 else None,
        n=seeds,
        standard_error=error.standard_error,
        interval_95=(mean - half_width, mean + half_width),
        p_value=error.p_value(mean),
        error=error,
    )


def _means_by_seed(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of the parts' means for each seed, S."""
    return np.asarray(np.sum([part.mean(1, dtype=np.float64) for part in parts], axis=0))


def satterthwaite(variances: Sequence[float], freedom: float) -> float:
    """Degrees of freedom of a sum of independent variances that have `freedom` degrees each (Satterthwaite 1946)."""
    squares = sum(variance**2 for variance in variances)
    return freedom * sum(variances) ** 2 / squares if squares else freedom


def variances_of(scores: np.ndarray, shared: bool) -> tuple[float, float]:
    """Two variances of scores S×N: that from the images, which all seeds have in common, and that of the noise.

    With one seed, all variance counts as variance from the images. With several seeds on the same images (`shared`), a
    two-way analysis of variance gives both. If each seed has its own images, all variance counts as noise.
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
    """The distribution of images · Z + seeds · T: Z is standard normal, T is Student's t with `freedom` degrees.

    `images` and `seeds` are standard errors.
    """

    images: float
    seeds: float
    freedom: float

    @property
    def standard_error(self) -> float:
        """The standard error of the mean: both parts together."""
        return math.hypot(self.images, self.seeds)

    def p_value(self, mean: float) -> float:
        """Two-sided p-value: the probability that the error is at least as far from zero as `mean`."""
        from scipy.special import ndtr, stdtr

        distance = abs(mean)
        if distance == 0 or self.images == self.seeds == 0:
            return 1.0  # if nothing varies, chance cannot be estimated
        if self.seeds == 0:
            return 2 * float(ndtr(-distance / self.images))
        beyond = stdtr(self.freedom, -(distance - self.images * GRID) / self.seeds)  # for each value of Z
        return min(1.0, 2 * float(beyond @ DENSITY))

    def half_width_95(self) -> float:
        """Half-width of the 95 % interval."""
        return self.half_width(0.05)

    def half_width(self, level: float) -> float:
        """Half-width of the interval that misses the true value with probability `level`, between 0 and 1."""
        from scipy.optimize import brentq
        from scipy.special import ndtri, stdtrit

        if self.images == self.seeds == 0:
            return 0.0
        of_images = -float(ndtri(level / 2)) * self.images
        of_seeds = -float(stdtrit(self.freedom, level / 2)) * self.seeds if self.seeds else 0.0
        lowest, widest = max(of_images, of_seeds), of_images + of_seeds
        # The logarithm of the p-value is nearly straight, so its root takes few steps.
        return float(
            brentq(
                lambda half_width: math.log(self.p_value(half_width) / level),
                0.99 * lowest,
                1.01 * widest,
                xtol=1e-9 * widest,
            )
        )

    def smallest_detectable(self, half_width: float) -> float:
        """The true difference that a test finds with a probability of about 0.8, if the error is as estimated.

        The test finds a difference if the estimate is further from zero than `half_width`. The estimate is lower than
        the true difference by more than `half_width(0.4)` with probability 0.2.
        """
        return half_width + self.half_width(0.4)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """McNemar's exact test (1947): the p-value for two classifiers being equally often correct.

    `one` and `other`, bool N, say which of the same N images each classifies correctly.
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given (Holm 1979): all tests together then have the error level of one test."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return adjusted.tolist()


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval, in [0, 1], of an accuracy on `images` independent images (Wilson 1927).

    scipy's function is not used: it needs a whole number of successes, which a mean over seeds does not give, and it
    takes 145 times as long.
    """
    z = NORMAL_95
    centre = (accuracy + z**2 / (2 * images)) / (1 + z**2 / images)
    half_width = z / (1 + z**2 / images) * np.sqrt(accuracy * (1 - accuracy) / images + z**2 / (4 * images**2))
    return max(0.0, float(centre - half_width)), min(1.0, float(centre + half_width))


def half_width(images: int) -> float:
    """Half-width of the 95 % interval of an accuracy on `images` images, at its widest (an accuracy of 0.5)."""
    low, high = wilson_interval(0.5, images)
    return (high - low) / 2
