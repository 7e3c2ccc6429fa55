"""Stratified subsets: a declared number of images with the classes in proportion."""

from __future__ import annotations

import numpy as np

from robustness_study.core.seeds import derive_seed


def stratified(labels: np.ndarray, count: int, seed: int, *names: str) -> np.ndarray:
    """Sorted positions of `count` of the N images (all, if there are no more), classes in proportion.

    The classes' shares are rounded by largest remainder; equal remainders are drawn by lot. The draw
    depends on the seed and the names alone.
    """
    if count >= len(labels):
        return np.arange(len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(derive_seed(seed, "subset", *names))
    counts, remainders = np.divmod(count * sizes, len(labels))  # whole numbers: a tie is a tie
    by_remainder = np.lexsort((rng.permutation(len(classes)), -remainders))
    counts[by_remainder[: count - counts.sum()]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:size] for label, size in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
