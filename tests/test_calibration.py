"""Temperature scaling: the fitted temperature, what it leaves as it is, and the values that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from robustness_study.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    calibration_error_at,
    confidence,
    expected_calibration_error,
    fit_temperature,
    loss_at,
)

CLASSES = 5


def drawn(images: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32, and labels drawn with the probabilities that the logits give after division by `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (images, CLASSES)).astype(np.float32)
    odds = np.exp(logits.astype(float) / temperature)
    reached = rng.random((images, 1)) > np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)
    return logits, np.minimum(reached.sum(1), CLASSES - 1).astype(np.uint8)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_that_the_labels_were_drawn_with_is_found(true: float) -> None:
    assert fit_temperature(*drawn(40_000, true)) == pytest.approx(true, rel=0.03)


def test_three_times_the_logits_have_three_times_the_temperature() -> None:
    logits, labels = drawn(500, 2.0)
    plain, tripled = fit_temperature(logits, labels), fit_temperature(3 * logits, labels)
    assert tripled == pytest.approx(3 * plain, rel=1e-6)
    for temperature in (1.0, plain):
        assert ((logits / temperature).argmax(1) == logits.argmax(1)).all()
    assert calibration_error_at(3 * logits, labels, tripled) == pytest.approx(
        calibration_error_at(logits, labels, plain), abs=1e-6
    )
    assert calibration_error_at(3 * logits, labels, 1.0) > calibration_error_at(logits, labels, 1.0) + 0.02


@pytest.mark.parametrize("seed", range(8))
def test_no_other_temperature_has_a_lower_loss_on_the_images_of_the_fit(seed: int) -> None:
    """Also where labels have little to do with the logits. The search is another one, and so is the formula."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 1, (60, CLASSES)) * 10 ** rng.uniform(-1, 1)).astype(np.float32)
    labels = np.where(rng.random(60) < 0.6, logits.argmax(1), rng.integers(0, CLASSES, 60)).astype(np.uint8)

    def loss(log_temperature: float) -> float:
        odds = np.exp(logits.astype(float) / np.exp(log_temperature))
        return float(np.mean([-np.log(row[label] / row.sum()) for row, label in zip(odds, labels, strict=True)]))

    found = fit_temperature(logits, labels)
    assert loss_at(logits, labels, found) == pytest.approx(loss(np.log(found)), abs=1e-12)
    best = minimize_scalar(loss, bounds=(np.log(LOWEST * 10), np.log(HIGHEST)), method="bounded")
    assert loss_at(logits, labels, found) <= min(best.fun, loss_at(logits, labels, 1.0)) + 1e-12
    assert found == pytest.approx(np.exp(best.x), rel=1e-2)


def test_without_a_best_temperature_it_is_an_end_of_the_range() -> None:
    logits = np.array([[3, 0, 0], [0, 2, 0]], np.float32)
    assert fit_temperature(logits, np.array([0, 1], np.uint8)) == LOWEST  # no image is wrong
    assert fit_temperature(logits, np.array([1, 0], np.uint8)) == HIGHEST  # worse than guessing


def test_confidence_is_the_largest_probability() -> None:
    logits, _ = drawn(200, 1.0)
    odds = np.exp(logits.astype(float))
    np.testing.assert_allclose(confidence(logits), (odds / odds.sum(1, keepdims=True)).max(1), atol=6e-4)
    assert confidence(np.array([[1e4, 0, -1e4]], dtype=np.float32)).tolist() == [1.0]


def test_result_does_not_depend_on_large_values() -> None:
    """Softmax of such logits would overflow."""
    logits, labels = drawn(200, 1.0)
    assert fit_temperature(logits + 1e4, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-3)
    assert np.isfinite(loss_at(logits * 1e4, labels, LOWEST))


def test_calibration_error_of_a_known_case() -> None:
    """Four images with the confidence 0.9 after scaling, of which three are correct; before it, 81 / 82."""
    logits = np.tile(np.array([2 * np.log(9), 0], np.float32), (4, 1))
    labels = np.array([0, 0, 0, 1], np.uint8)
    assert calibration_error_at(logits, labels, 2.0) == pytest.approx(0.9 - 0.75, abs=1e-6)
    assert calibration_error_at(logits, labels, 1.0) == pytest.approx(81 / 82 - 0.75, abs=1e-6)
    assert fit_temperature(logits, labels) == pytest.approx(4.0, rel=1e-6)  # the odds become 3 to 1


def test_scaling_corrects_confidence_that_is_too_high() -> None:
    (logits, labels), (others, their_labels) = drawn(4000, 3.0, seed=1), drawn(4000, 3.0, seed=2)
    temperature = fit_temperature(logits, labels)
    assert calibration_error_at(others, their_labels, 1.0) > 0.15
    assert calibration_error_at(others, their_labels, temperature) < 0.03
    perfect = np.eye(CLASSES)[their_labels]
    assert expected_calibration_error(perfect, their_labels) == 0
