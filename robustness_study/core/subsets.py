"""Stratified subsets: a given number of images, with the same proportions of classes as the whole."""

from __future__ import annotations

import numpy as np

from robustness_study.core.seeds import derive_seed


def stratified(labels: np.ndarray, count: int, seed: int, *names: str) -> np.ndarray:
    """Sorted positions of `count` random images out of N, with the proportions of the classes in `labels` (N,).

    Returns all N positions if `count` is N or more. The number for each class is rounded by the largest remainder
    method; a random choice decides between equal remainders. The result depends only on the labels, `count`, the seed
    and the names.
    """
    if count >= len(labels):
        return np.arange(len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(derive_seed(seed, "subset", *names))
    counts, remainders = np.divmod(count * sizes, len(labels))  # in whole numbers, equal remainders are exactly equal
    by_remainder = np.lexsort((rng.permutation(len(classes)), -remainders))
    counts[by_remainder[: count - counts.sum()]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:size] for label, size in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
