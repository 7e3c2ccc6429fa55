"""The k-nearest-neighbour classifier on features: the same for every loss, so that losses compare."""

from __future__ import annotations

import numpy as np


def knn_predictions(reference: np.ndarray, labels: np.ndarray, queries: np.ndarray, neighbours: int) -> np.ndarray:
    """Predicted labels N of queries N×D by majority of the nearest reference features M×D, exact search.

    Features are normalised, so distance is by angle; a tie goes to the smallest label, and
    `neighbours` is at most M.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(min(neighbours, len(reference)), algorithm="brute")
    classifier.fit(unit(reference), labels)
    return classifier.predict(unit(queries))


def unit(features: np.ndarray) -> np.ndarray:
    """Rows N×D at length one; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(features.dtype).tiny)
