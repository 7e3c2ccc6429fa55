"""Angles within and between classes: against a slow loop over pairs, and in cases computed by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from robustness_study.evaluation import angles
from robustness_study.evaluation.angles import class_angles

WITHIN, BETWEEN = "within_class_degrees", "between_class_degrees"


def plain_angles(features: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """The mean over pairs, one by one."""
    found: dict[str, list[float]] = {WITHIN: [], BETWEEN: []}
    for one, other in combinations(range(len(labels)), 2):
        first, second = features[one].astype(np.float64), features[other].astype(np.float64)
        cosine = first @ second / np.sqrt((first @ first) * (second @ second))
        found[WITHIN if labels[one] == labels[other] else BETWEEN].append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


@pytest.mark.parametrize("block", [1, 7, 20, 41, 1000])
def test_angles_equal_a_loop_over_pairs_for_any_block_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(angles, "BLOCK", block)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 41).astype(np.uint8)
    features = rng.standard_normal((41, 6)) + 2 * np.eye(6)[labels]
    features = (features * rng.uniform(0.1, 10, (41, 1))).astype(np.float32)
    found, expected = class_angles(features, labels), plain_angles(features, labels)
    assert found == pytest.approx(expected, abs=1e-3)
    within, between = found.values()
    assert type(within) is float and type(between) is float and within < between


def test_angles_between_paired_features() -> None:
    features = np.array([[1, 0], [2, 0], [3, 0], [0, 0]], np.float16)
    others = np.array([[5, 0], [1, 1], [-1, 0], [1, 0]], np.float16)
    # A feature of length zero has no direction. Its angle to every other one counts as 90°.
    np.testing.assert_allclose(angles.angles_between(features, others), [0, 45, 180, 90], atol=1e-3)


def test_classes_at_right_angles() -> None:
    features = np.array([[3, 0], [0, 2], [0.5, 0], [0, 7], [0, 0.1]], np.float32)
    assert class_angles(features, np.array([0, 1, 0, 1, 1])) == {WITHIN: 0, BETWEEN: pytest.approx(90)}


def test_opposite_classes() -> None:
    features = np.array([[1, 1], [2, 2], [-1, -1]], np.float32)
    found = class_angles(features, np.array([4, 4, 9]))
    assert found == {WITHIN: pytest.approx(0, abs=0.05), BETWEEN: pytest.approx(180, abs=0.05)}


def test_an_image_is_not_paired_with_itself() -> None:
    features = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    # The second class has one image; that of the first is 45° and 90° from it.
    assert class_angles(features, np.array([0, 0, 1])) == pytest.approx({WITHIN: 45, BETWEEN: (45 + 90) / 2}, abs=1e-4)


def test_without_pairs_the_angle_is_null() -> None:
    features = np.array([[1, 0], [0, 1]], np.float32)
    assert class_angles(features, np.array([0, 1])) == {WITHIN: None, BETWEEN: pytest.approx(90)}
    assert class_angles(features, np.array([1, 1])) == {WITHIN: pytest.approx(90), BETWEEN: None}
    assert class_angles(features[:1], np.array([1])) == {WITHIN: None, BETWEEN: None}
