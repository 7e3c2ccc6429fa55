"""Stratified subsets: a given number of images, with the same proportions of classes as the whole.

Subsets with the same seed and names are nested: the smaller one is part of the larger one.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.seeds import derive_seed

TEST_IMAGES = "test images"  # name of the subsets of test images: with one seed, those of all stages are nested


def count_of(share: float, of: int) -> int:
    """The number of images in a share, above 0 and at most 1, of so many: one or more."""
    return max(1, round(share * of))


def stratified(labels: np.ndarray, count: int, seed: int, *names: str) -> np.ndarray:
    """Sorted positions of `count` random images out of N, with the proportions of the classes in `labels` (N,).

    Returns all N positions if `count` is N or more. The result depends only on the labels, `count`, the seed and the
    names. With another `count`, one of the two results contains the other.
    """
    return np.sort(_in_stratified_order(labels, seed, *names)[:count])


def _in_stratified_order(labels: np.ndarray, seed: int, *names: str) -> np.ndarray:
    """All N positions in a random order in which the first k images, for any k, have the classes in proportion.

    The classes take turns by the method of Sainte-Laguë: the image number r of a class with s images, counted from 0,
    has its turn at (2r + 1) / s. A random choice decides between equal turns.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(derive_seed(seed, "subset", *names))
    lots = rng.permutation(len(classes))
    members = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in classes])
    turns = np.concatenate([(2 * np.arange(size) + 1) / size for size in sizes])  # equal fractions give equal floats
    return members[np.lexsort((np.repeat(lots, sizes), turns))]
