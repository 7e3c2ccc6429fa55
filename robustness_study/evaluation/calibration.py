"""Calibration: the difference between confidence and accuracy, before and after temperature scaling.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) corrects the confidence of a model by one number: the logits are
divided by the temperature before the softmax. That changes no prediction. The temperature is the one with the lowest
negative log-likelihood on validation images.
"""

from __future__ import annotations

import numpy as np

LOWEST, HIGHEST = 0.01, 100.0  # where all images are correct the best temperature is 0, and without any skill infinity


def confidence(logits: np.ndarray) -> np.ndarray:
    """The confidence of a prediction: the largest probability of the softmax, in [0, 1], float16 N; logits N×classes.

    As precise as a report shows it: to 0.0005.
    """
    below = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return (1 / np.exp(below).sum(1)).astype(np.float16)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error, in [0, 1] (Guo et al. 2017, arXiv 1706.04599).

    It is the mean of |accuracy − confidence| over bins of equal width, weighted by the number of images in each bin.
    `probabilities` are N×classes, `labels` N. The confidence of an image is the largest value in its row.
    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = (probabilities.argmax(1) == labels).astype(np.float64)
    # As in the paper, a bin includes its upper end and excludes its lower end.
    of_bin = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(of_bin, correct - confidence, minlength=bins)  # images × (accuracy − confidence)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, in [0.01, 100], with the lowest negative log-likelihood of `labels` N given `logits` N×classes.

    The likelihood is concave in the inverse of the temperature, so its slope has one zero at most. Where it has none in
    this range, the result is the better end of the range.
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    exact = logits.astype(np.float64)
    of_label = exact[np.arange(len(labels)), labels].mean()

    def slope(log_temperature: float) -> float:
        """The slope of the negative log-likelihood along the inverse temperature."""
        return float((softmax(exact / np.exp(log_temperature), axis=1) * exact).sum(1).mean() - of_label)

    ends = np.log(LOWEST), np.log(HIGHEST)
    if slope(ends[0]) <= 0:
        return LOWEST
    if slope(ends[1]) >= 0:
        return HIGHEST
    return float(np.exp(brentq(slope, *ends, xtol=1e-12)))


def loss_at(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The negative log-likelihood, a mean over images, of logits N×classes divided by the temperature; `labels` are N.

    At 1 it is that of the logits as they are.
    """
    from scipy.special import log_softmax

    return float(-log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_error_at(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The expected calibration error, in [0, 1] (15 bins), of the same."""
    from scipy.special import softmax

    return expected_calibration_error(softmax(logits.astype(np.float64) / temperature, axis=1), labels)
