"""How features lie on the sphere: the angles within a class and between classes, which angular losses are to change."""

from __future__ import annotations

import numpy as np

from robustness_study.evaluation.neighbours import unit

BLOCK = 1000  # images at a time: a block of angles takes 4 MB for each thousand other images


def angles_between(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The angle, in degrees, between each of features N×D and its like among others N×D."""
    cosines = (unit(features.astype(np.float32)) * unit(others.astype(np.float32))).sum(1)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def class_angles(features: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """The mean angle, in degrees, of pairs of features N×D of the same class and of pairs of different classes.

    Of all pairs but of an image with itself; None where there is no such pair.
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
