"""Calibration: the difference between confidence and accuracy."""

from __future__ import annotations

import numpy as np


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
