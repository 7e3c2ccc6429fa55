"""Scores and nearest neighbours against independent implementations and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from robustness_study.core.array_text import to_text
from robustness_study.core.cell import Cell
from robustness_study.evaluation.calibration import expected_calibration_error
from robustness_study.evaluation.neighbours import compact, knn_predictions, unit
from robustness_study.evaluation.score import per_class, score_set
from robustness_study.results.cell_results import CellResults
from robustness_study.statistics import half_width, wilson_interval

NAMES = ["ant", "bee", "cat", "dog", "eel"]


def case(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 and predictions int64 of 200 images of five classes."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 200).astype(np.uint8)
    predictions = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 5, 200))
    if name == "never predicted":
        predictions[predictions == 4] = 1
    if name == "never there":
        labels[labels == 4] = 0
    if name == "neither":
        labels, predictions = labels % 4, predictions % 4
    if name == "all wrong":
        predictions = (labels.astype(np.int64) + 1) % 5
    return labels, predictions


CASES = ("usual", "never predicted", "never there", "neither", "all wrong")


@pytest.mark.parametrize("name", CASES)
def test_per_class_report_equals_a_loop(name: str) -> None:
    labels, predictions = case(name)
    report = per_class(labels, predictions, NAMES)
    assert list(report) == NAMES
    for label, found in enumerate(report.values()):
        both = int(((labels == label) & (predictions == label)).sum())
        actual, predicted = int((labels == label).sum()), int((predictions == label).sum())
        assert found["images"] == actual and type(found["images"]) is int
        assert found["precision"] == pytest.approx(both / predicted if predicted else 0)
        assert found["recall"] == pytest.approx(both / actual if actual else 0)
        assert found["f1"] == pytest.approx(2 * both / (actual + predicted) if actual + predicted else 0)


def test_set_of_256_classes_has_labels_in_rows_and_predictions_in_columns() -> None:
    labels, predictions = np.array([255, 255, 254], np.uint8), np.array([255, 254, 0])
    logits = np.eye(256, dtype=np.float32)[predictions]
    _, details = score_set(logits, {}, labels, [str(number) for number in range(256)])
    evaluate = {
        "dataset": {"classes": ["a name"] * 256},
        "labels": {"test": to_text(labels)},
        "details": {"test_clean": details},
    }
    result = CellResults(Cell("loss", "clean", 0), evaluate, {}, None, {}, None)  # type: ignore[arg-type]  # unused
    confusion = result.confusion("test_clean")
    assert confusion.shape == (256, 256) and confusion.sum() == 3
    assert confusion[255, 255] == confusion[255, 254] == confusion[254, 0] == 1


@pytest.mark.parametrize("images", [1, 2, 10, 2000, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_wilson_interval_equals_scipys(images: int, share: float) -> None:
    right = round(share * images)
    theirs = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson_interval(right / images, images) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_stays_in_range() -> None:
    ends = [end for images in range(1, 300) for share in (0.0, 1.0) for end in wilson_interval(share, images)]
    assert min(ends) >= 0 and max(ends) <= 1 and all(type(end) is float for end in ends)


@pytest.mark.parametrize("images", [1, 2, 7, 40, 1000])
def test_no_interval_of_a_share_is_wider_than_its_half_width_says(images: int) -> None:
    ends = [wilson_interval(right / images, images) for right in range(images + 1)]
    widest = max(high - low for low, high in ends) / 2
    assert widest <= half_width(images) + 1e-12
    if images % 2 == 0:
        assert half_width(images) == pytest.approx(widest, abs=1e-12)
        theirs = binomtest(images // 2, images).proportion_ci(method="wilson")
        assert half_width(images) == pytest.approx((theirs.high - theirs.low) / 2, abs=1e-12)


# --- calibration -------------------------------------------------------------------------------------------


def plain_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equation 3: over bins, the share of images times |accuracy − confidence|."""
    total = 0.0
    for number in range(bins):
        confidences, right = [], []
        for row, label in zip(probabilities.astype(np.float64), labels, strict=True):
            if number / bins < max(row) <= (number + 1) / bins:
                confidences.append(max(row))
                right.append(int(row.argmax()) == label)
        if right:
            total += len(right) / len(labels) * abs(np.mean(right) - np.mean(confidences))
    return float(total)


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_calibration_error_equals_a_loop_over_bins(bins: int, kind: type[np.floating]) -> None:
    rng = np.random.default_rng(bins)
    probabilities = rng.dirichlet([0.4] * 5, 300).astype(kind)
    labels = np.where(rng.random(300) < 0.5, probabilities.argmax(1), rng.integers(0, 5, 300)).astype(np.uint8)
    expected = plain_calibration_error(probabilities, labels, bins)
    assert expected > 0.02
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_has_15_bins() -> None:
    probabilities = np.random.default_rng(0).dirichlet([1] * 3, 200)
    labels = np.random.default_rng(1).integers(0, 3, 200)
    found = [expected_calibration_error(probabilities, labels, *bins) for bins in ((), (15,), (14,), (16,))]
    assert found[0] == found[1] and found[0] not in found[2:]


def test_calibration_error_of_hand_cases() -> None:
    three_of_four = np.array([[0.75, 0.25]] * 4), np.array([0, 0, 1, 0])
    assert expected_calibration_error(*three_of_four) == 0
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(sure, np.array([1, 0])) == 1
    assert expected_calibration_error(sure, np.array([0, 1])) == 0
    # Confidence too high in one bin and too low in another: the errors do not cancel.
    two_bins = np.array([[0.75, 0.25]] * 2 + [[0.5, 0.25]] * 2)
    assert expected_calibration_error(two_bins, np.array([0, 1, 0, 0]), bins=4) == (0.25 + 0.5) / 2


def test_upper_edge_of_a_bin_belongs_to_it() -> None:
    probabilities, labels = np.array([[0.5, 0.25, 0.25], [0.4, 0.3, 0.3]]), np.array([0, 1])
    # One bin from 0 to 0.5: one of two images is correct, at a confidence of 0.45.
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx(0.5 - 0.45)
    # Just above the edge, each image is in its own bin.
    above = probabilities + np.array([[1e-9, 0, 0], [0, 0, 0]])
    assert expected_calibration_error(above, labels, bins=2) == pytest.approx((0.5 + 0.4) / 2)


# --- nearest neighbours ------------------------------------------------------------------------------------


def plain_neighbours(reference: np.ndarray, labels: np.ndarray, queries: np.ndarray, neighbours: int) -> list[int]:
    """The most frequent label of the references at the smallest angles; in a tie, the smallest label."""
    results = []
    for query in queries.astype(np.float64):
        angles = []
        for features, label in zip(reference.astype(np.float64), labels, strict=True):
            cosine = float(query @ features) / (float(query @ query) * float(features @ features)) ** 0.5
            angles.append((-cosine, int(label)))
        nearest = [label for _, label in sorted(angles)[:neighbours]]
        results.append(min(sorted(set(nearest)), key=lambda label: -nearest.count(label)))
    return results


@pytest.mark.parametrize("neighbours", [1, 2, 3, 4, 10, 60, 61, 1000])
def test_nearest_neighbours_equal_a_loop(neighbours: int) -> None:
    rng = np.random.default_rng(neighbours)
    reference = rng.standard_normal((60, 8)).astype(np.float32) * rng.uniform(0.1, 10, (60, 1)).astype(np.float32)
    labels = rng.integers(0, 4, 60).astype(np.uint8)
    queries = rng.standard_normal((50, 8)).astype(np.float32)
    predictions = knn_predictions(reference, labels, queries, neighbours)
    assert predictions.tolist() == plain_neighbours(reference, labels, queries, neighbours)


def test_neighbours_are_chosen_by_angle_and_not_by_distance() -> None:
    reference = np.array([[100, 1], [1, 1]], np.float32)
    assert knn_predictions(reference, np.array([7, 3]), np.array([[1, 0], [1, 0.9]], np.float32), 1).tolist() == [7, 3]


def test_tie_of_votes_goes_to_the_smallest_label() -> None:
    reference = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]], np.float32)
    query = np.array([[1, 0]], np.float32)
    assert knn_predictions(reference, np.array([9, 9, 4, 4]), query, 4).tolist() == [4]
    assert knn_predictions(reference, np.array([4, 4, 9, 9]), query, 4).tolist() == [4]
    assert knn_predictions(reference, np.array([9, 9, 4, 4]), query, 3).tolist() == [9]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_unit_rows_have_length_one_and_zeros_stay(kind: type[np.floating]) -> None:
    rows = unit(np.array([[3, 4], [0, 0], [-1e-3, 0]], kind))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0], [-1, 0]]), rtol=1e-6)
    assert rows.dtype == kind


def test_features_are_kept_in_half_precision_unless_they_are_too_large() -> None:
    features = np.array([[0.5, -65504.0], [3.0, 0.0]], np.float32)
    assert compact(features).dtype == np.float16 and compact(features).tolist() == features.tolist()
    assert compact(features * 2).dtype == np.float32 and compact(features * 2).tolist() == (features * 2).tolist()
