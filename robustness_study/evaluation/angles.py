"""Angles between features, within a class and between classes. Angular losses are meant to change these angles."""

from __future__ import annotations

import numpy as np

from robustness_study.evaluation.neighbours import unit

BLOCK = 1000  # images at a time; a block of angles needs 4 MB per 1,000 images that it is compared with


def angles_between(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The angles, in degrees, N, between each row of `features` N×D and the same row of `others` N×D."""
    cosines = (unit(features.astype(np.float32)) * unit(others.astype(np.float32))).sum(1)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def class_angles(features: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """The mean angle, in degrees, over pairs of features N×D of the same class, and over pairs of different classes.

    `labels` are N. No image is paired with itself. A mean is None if there is no such pair.
    """
    directions = unit(features.astype(np.float32))
    sums, pairs = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for start in range(0, len(directions), BLOCK):
        block = slice(start, start + BLOCK)
        angles = np.arccos(np.clip(directions[block] @ directions.T, -1, 1))
        same = labels[block, None] == labels
        own = np.arange(len(angles))
        angles[own, start + own] = 0.0
        sums[True] += float(angles.sum(where=same, dtype=np.float64))
        sums[False] += float(angles.sum(where=~same, dtype=np.float64))
        pairs[True] += int(same.sum()) - len(angles)
        pairs[False] += int((~same).sum())
    names = {True: "within_class_degrees", False: "between_class_degrees"}
    return {names[same]: float(np.degrees(sums[same] / pairs[same])) if pairs[same] else None for same in (True, False)}
