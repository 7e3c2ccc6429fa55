"""How far confidence and accuracy lie apart."""

from __future__ import annotations

import numpy as np


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, in [0, 1]: the mean over bins of equal width, weighted by images.

    `probabilities` N×classes, `labels` N; confidence is the largest of a row (Guo et al. 2017, arXiv 1706.04599).
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    # A bin holds its upper end, not its lower one, as in the paper.
    of_bin = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(of_bin, right - confidence, minlength=bins)  # images × (accuracy − confidence)
    return float(np.abs(gaps).sum() / len(labels))
