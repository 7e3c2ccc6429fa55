"""A mean over corruptions, with an interval for corruptions that are a random sample of possible ones.

All other intervals take the corruptions as fixed. They say what other images and other seeds would give under the same
corruptions, and nothing about corruptions that the suite lacks. Here the corruptions vary as well. So the error has a
third part: the standard deviation of the corruptions' means, divided by √C for C corruptions. Its distribution is
Student's t with C − 1 degrees of freedom. It is added to the normal part, as the normal error whose 95 % interval is as
wide. So this interval is never narrower than the one for fixed corruptions.

Each corruption counts as independent of the others. But those of a family are alike, and somebody chose them. So even
this interval is rather too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robustness_study.results.cell_results import CellResults
from robustness_study.statistics import Error, Estimate


def error_of_corruptions(scores: np.ndarray, level: float = 0.05) -> float:
    """The normal standard error that random corruptions add to the mean of scores S×N×C: to `images` of an `Error`.

    It is as wide as Student's t where an interval misses the true value with probability `level`.

    S seeds, N images, C corruptions, at least two of them. What belongs to one corruption and one seed together is in
    the variance between seeds already, so it is subtracted. What belongs to one corruption and one image together is
    also in the part from the images. So it counts twice, and with few images the interval is a little too wide.
    """
    from scipy.special import ndtri, stdtrit

    of_both = scores.mean(1, dtype=np.float64)  # S×C
    seeds, corruptions = of_both.shape
    variance = float(of_both.mean(0).var(ddof=1)) / corruptions
    if seeds > 1:
        rest = of_both - of_both.mean(0) - of_both.mean(1)[:, None] + of_both.mean()
        noise = float((rest**2).sum()) / ((seeds - 1) * (corruptions - 1))
        variance = max(0.0, variance - noise / (seeds * corruptions))
    return math.sqrt(variance) * float(stdtrit(corruptions - 1, level / 2) / ndtri(level / 2))


def widened(error: Error, scores: np.ndarray, level: float = 0.05) -> Error:
    """The error of the mean of scores S×N×C for random corruptions; `error` is the one for fixed corruptions.

    Use it for an interval that misses the true value with probability `level`.
    """
    return replace(error, images=math.hypot(error.images, error_of_corruptions(scores, level)))


def with_random_corruptions(fixed: Estimate, scores: np.ndarray) -> Estimate:
    """The estimate of the mean of scores S×N×C, with corruptions as random; `fixed` is the one for fixed corruptions.

    The scores are accuracies or differences of accuracies, for each seed, image and corruption, at least two
    corruptions. All seeds have the same images. With one seed, the interval covers images and corruptions.
    """
    error = widened(fixed.error, scores)
    half_width = error.half_width_95()
    return replace(
        fixed,
        error=error,
        standard_error=error.standard_error,
        interval_95=(fixed.mean - half_width, fixed.mean + half_width),
        p_value=error.p_value(fixed.mean),
    )


def right_by_corruption(results: Sequence[CellResults], names: Sequence[str]) -> np.ndarray:
    """Scores S×N×C of the models of several seeds: the share of severities at which an image is correct."""
    return np.stack([[result.stress.right([name]) for name in names] for result in results]).transpose(0, 2, 1)
