"""The k-nearest-neighbour classifier on features. It is the same for every loss, so that losses can be compared."""

from __future__ import annotations

import numpy as np


def knn_predictions(reference: np.ndarray, labels: np.ndarray, queries: np.ndarray, neighbours: int) -> np.ndarray:
    """The labels, N, predicted for `queries` N×D by majority vote of the nearest `reference` features M×D.

    `labels`, M, are those of `reference`. The search is exact. Features are scaled to length one, so distances order by
    angle. A tie goes to the smallest label. If `neighbours` is larger than M, all M vote.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(min(neighbours, len(reference)), algorithm="brute")
    classifier.fit(unit(reference), labels)
    return classifier.predict(unit(queries))


def compact(features: np.ndarray) -> np.ndarray:
    """Features N×D in half the memory, as float16; unchanged if a value is too large for that."""
    return features.astype(np.float16) if np.abs(features).max(initial=0) <= np.finfo(np.float16).max else features


def unit(features: np.ndarray) -> np.ndarray:
    """The rows of `features`, N×D, scaled to length one. A row of zeros stays zero."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(features.dtype).tiny)
