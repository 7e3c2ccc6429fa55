"""A linear probe: logistic regression on frozen features. It is the same for every loss, so losses can be compared.

Alain & Bengio 2016 (arXiv 1610.01644). Features are standardised with the mean and standard deviation of the features
that the probe is fitted on. A loss may choose any scale of features, and this scale must not change how strongly the
probe is regularised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from robustness_study.core.errors import StudyError

MOST_ITERATIONS = 10_000


def fit_probe(reference: np.ndarray, labels: np.ndarray, inverse_penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a probe to `reference` features M×D with labels M. Returns a function: features N×D → predicted labels N.

    `inverse_penalty` is scikit-learn's C. Raises StudyError if the fit does not converge.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=MOST_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            probe.fit(reference.astype(np.float64), labels)
        except ConvergenceWarning:
            raise StudyError(
                f"evaluate: the linear probe did not converge in {MOST_ITERATIONS} steps; "
                "lower evaluate.probe_inverse_penalty"
            ) from None
    return lambda features: probe.predict(features.astype(np.float64))
