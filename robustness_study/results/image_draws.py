"""The error of a ratio over seeds and images, by drawing the images again with replacement (bootstrap, Efron 1979).

The draws are the same for all models and all seeds, and each draw gives a new ratio. The spread over draws has two
parts: one that all seeds share, and noise of each seed. The spread between seeds contains that noise too, so it is
counted once, as in `statistics.py`. The interval follows from both parts as it does there.

A few ratios can be very large, where a divisor is near zero. So the standard deviation over draws is half the distance
between two percentiles, those at one standard deviation on either side of a normal distribution's mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robustness_study.core.seeds import derive_seed
from robustness_study.statistics import Error

DRAWS = 2000
AT_ONCE = 100  # draws whose counts are whole numbers of 64 bits in memory at a time
ONE_BELOW = (
    0.15865525393145707  # share of a normal distribution that is more than one standard deviation below its mean
)


def draws_of_images(images: int) -> np.ndarray:
    """How often each of `images` images is in each of the draws, float32 D×N. Each draw has as many images."""
    rng = np.random.default_rng(derive_seed(0, "corruption errors", "draws of images"))
    share = np.full(images, 1 / images)
    parts = [rng.multinomial(images, share, size=AT_ONCE).astype(np.float32) for _ in range(DRAWS // AT_ONCE)]
    return np.concatenate(parts)


def variance_over(drawn: np.ndarray) -> float:
    """The variance over draws, from the percentiles of `drawn`, D, at one standard deviation on either side.

    Infinite if too many of the values are: more than 15 %.
    """
    low, high = np.quantile(drawn, [ONE_BELOW, 1 - ONE_BELOW], method="inverted_cdf")
    return float(((high - low) / 2) ** 2) if math.isfinite(high) else math.inf


def error_of_mean(by_seed: Sequence[float], drawn: np.ndarray) -> Error:
    """The error of the mean over seeds of `by_seed`, S. `drawn`, S×D, holds the same values for each draw of images.

    With one seed, the error is that of images alone.
    """
    seeds = len(by_seed)
    of_mean = variance_over(drawn.mean(0))
    if seeds == 1:
        return Error(math.sqrt(of_mean), 0.0, 0)
    of_each = float(np.mean([variance_over(of_seed) for of_seed in drawn]))
    # Variances: of_each = shared + noise, of_mean = shared + noise / seeds. An estimate of either can be negative.
    noise = min(max(0.0, (of_each - of_mean) * seeds / (seeds - 1)), of_each)
    shared = max(0.0, of_mean - noise / seeds)
    between = float(np.var(by_seed, ddof=1))
    return Error(math.sqrt(shared), math.sqrt(max(between, noise) / seeds), seeds - 1)
