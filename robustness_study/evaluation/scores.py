"""What a set of predictions is worth: accuracy, confusion matrix, per-class report. Plain numpy."""

from __future__ import annotations

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts, classes × classes: row = label, column = prediction."""
    flat = labels.astype(np.int64) * classes + predictions
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: np.ndarray, names: list[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of images of each class; 0 where nothing was predicted."""
    right = np.diag(confusion).astype(float)
    actual, predicted = confusion.sum(1), confusion.sum(0)
    precision = np.divide(right, predicted, out=np.zeros_like(right), where=predicted > 0)
    recall = np.divide(right, actual, out=np.zeros_like(right), where=actual > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(right), where=both > 0)
    columns = {"precision": precision, "recall": recall, "f1": f1}
    return {
        name: {**{column: float(values[i]) for column, values in columns.items()}, "images": int(actual[i])}
        for i, name in enumerate(names)
    }


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
