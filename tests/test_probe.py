"""The linear probe: correct on separable classes, equal to its definition, independent of the features' scale."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from robustness_study.core.errors import StudyError
from robustness_study.evaluation import probe
from robustness_study.evaluation.probe import fit_probe

PENALTY = 0.01


def clusters(count: int, width: float, seed: int, dimensions: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 of three classes, each around one direction. With a large `width` they overlap."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.uint8)
    features = 2 * np.eye(dimensions)[labels] + width * rng.standard_normal((count, dimensions))
    return features.astype(np.float32), labels


def test_separable_classes_are_classified_correctly() -> None:
    known, unknown = clusters(90, 0.2, seed=0), clusters(200, 0.2, seed=1)
    predictions = fit_probe(*known, PENALTY)(unknown[0])
    assert predictions.tolist() == unknown[1].tolist() and predictions.dtype == known[1].dtype


def test_labels_need_not_be_the_first_numbers() -> None:
    features, labels = clusters(90, 0.2, seed=0)
    names = np.array([7, 2, 200], np.uint8)
    assert fit_probe(features, names[labels], PENALTY)(features).tolist() == names[labels].tolist()


@pytest.mark.parametrize("inverse_penalty", [PENALTY, 1.0])
def test_probe_is_penalised_softmax_regression_on_standardised_features(inverse_penalty: float) -> None:
    (features, labels), (queries, _) = clusters(60, 1.5, seed=2), clusters(100, 1.5, seed=3)
    mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    known, asked = (features - mean) / std, (queries - mean) / std

    def logits(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        matrix = weights.reshape(7, 3)  # the last row is the constant, which has no penalty
        return rows @ matrix[:-1] + matrix[-1]

    def objective(weights: np.ndarray) -> float:
        scores = logits(weights, known)
        losses = logsumexp(scores, axis=1) - scores[np.arange(60), labels]
        return float(inverse_penalty * losses.sum() + (weights[:18] ** 2).sum() / 2)

    best = minimize(objective, np.zeros(21), tol=1e-12, options={"maxiter": 500}).x
    expected = logits(best, asked).argmax(1)
    assert fit_probe(features, labels, inverse_penalty)(queries).tolist() == expected.tolist()
    assert len(set(expected.tolist())) == 3


def test_penalty_changes_predictions() -> None:
    (features, labels), (queries, _) = clusters(60, 1.5, seed=2), clusters(300, 1.5, seed=3)
    predictions = [fit_probe(features, labels, penalty)(queries).tolist() for penalty in (1e-3, PENALTY, 1.0)]
    assert predictions[0] != predictions[1] != predictions[2]


def test_scale_of_features_changes_no_prediction() -> None:
    (features, labels), (queries, truth) = clusters(60, 1.5, seed=4), clusters(300, 1.5, seed=5)
    expected = fit_probe(features, labels, PENALTY)(queries)
    assert 0.5 < (expected == truth).mean() < 0.95  # some lie near the border
    each = np.array([1e-4, 0.1, 1, 30, 1e3, 1e5], np.float32)
    for scale in (1e-3, 1e4, each):
        assert fit_probe(features * scale, labels, PENALTY)(queries * scale).tolist() == expected.tolist()


def test_a_constant_feature_has_no_effect() -> None:
    (features, labels), (queries, _) = clusters(60, 1.5, seed=6), clusters(50, 1.5, seed=7)
    expected = fit_probe(features, labels, PENALTY)(queries)
    known, asked = (np.concatenate([rows, np.full((len(rows), 1), 3, np.float32)], 1) for rows in (features, queries))
    assert fit_probe(known, labels, PENALTY)(asked).tolist() == expected.tolist()


def test_error_without_convergence_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MOST_ITERATIONS", 1)
    with pytest.raises(
        StudyError, match=r"probe did not converge in 1 steps; lower evaluate\.probe_inverse_penalty"
    ) as caught:
        fit_probe(*clusters(60, 1.5, seed=8), PENALTY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inverse_penalty", [1e-6, 1e6])
def test_probe_converges_at_the_limits_of_its_penalty(inverse_penalty: float) -> None:
    """Classes that overlap, features of many sizes, most of them zero: the fit needs the most steps on such."""
    rng = np.random.default_rng(0)
    features = rng.random((400, 64)) * 10 ** rng.uniform(-3, 3, 64) * (rng.random((400, 64)) < 0.1)
    fit_probe(features.astype(np.float32), rng.integers(0, 10, 400).astype(np.uint8), inverse_penalty)
