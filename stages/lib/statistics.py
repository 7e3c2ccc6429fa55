"""What can be said of a mean over seeds and images, and of a difference between two.

A figure is a mean over S seeds and N images. Other seeds would give another figure and so would other images, and all
seeds share the test images. Its standard error is the bootstrap's, over seeds × images, in closed form: what
infinitely many resamples would give, without their noise. Resampling images and seeds at once would count what is
neither the seed's nor the image's own three times over (Owen 2007, "The pigeonhole bootstrap"); here each part of the
variance is counted once. With few seeds a standard error is itself uncertain: intervals are Student's, with
Satterthwaite's degrees of freedom. In simulated studies of 3 and 5 seeds they held the truth in 93 to 100 % of cases,
of 2 seeds in 89 % at worst (`tests/test_statistics.py` holds them to that). Of one seed they cover the images alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, with its spread."""

    mean: float
    std: float | None  # over seeds, ddof = 1; None for one seed
    n: int  # seeds
    standard_error: float
    degrees_of_freedom: float  # infinite for one seed
    interval_95: tuple[float, float]
    p_value: float  # that the mean is zero; 1 where it is exactly that


def estimate(parts: Sequence[np.ndarray], shared: Sequence[bool]) -> Estimate:
    """The sum of the means of `parts`, each the scores S×N of one set of images, each set with images of its own.

    `shared` says of each part whether all seeds have the same images, as they have of a test set.
    """
    from scipy.stats import t as student

    by_seed = np.sum([part.mean(1, dtype=np.float64) for part in parts], axis=0)  # (S,)
    seeds = len(by_seed)
    variances = [variances_of(part, same) for part, same in zip(parts, shared, strict=True)]
    of_images = sum(common / part.shape[1] for (common, _), part in zip(variances, parts, strict=True))
    noise = sum(noise / part.size for (_, noise), part in zip(variances, parts, strict=True))
    # The spread between seeds shows the noise as well; by chance it may show less of it than there must be.
    of_seeds = max(float(by_seed.var(ddof=1)) / seeds, noise) if seeds > 1 else 0.0
    variance = of_images + of_seeds
    freedom = (seeds - 1) * (variance / of_seeds) ** 2 if of_seeds > 0 else np.inf
    mean, error = float(by_seed.mean()), float(np.sqrt(variance))
    half = float(student.ppf(0.975, freedom)) * error
    p_value = 2 * float(student.sf(abs(mean) / error, freedom)) if error > 0 else float(mean == 0)
    spread = float(by_seed.std(ddof=1)) if seeds > 1 else None
    return Estimate(mean, spread, seeds, error, float(freedom), (mean - half, mean + half), p_value)


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
