"""Which images form which batch: int64 arrays of positions, steps × batch size.

Both kinds of batches give floor(N / batch size) full batches per epoch. So every loss sees the same number of images
and takes the same number of optimiser steps.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed


def epoch_batches(kind: str, labels: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The batches of one epoch: positions of images, int64, steps × batch size.

    `kind` is "shuffled" or "class_balanced"; `labels` has shape N. Raises StudyError if there are fewer images than
    one batch, or if a class-balanced batch is too small for two images of each class.
    """
    steps = len(labels) // batch_size
    if steps == 0:
        raise StudyError(
            f"batch_size is {batch_size}, but there are only {len(labels)} training images; set it to at most "
            f"{len(labels)}, or raise split.train_share"
        )
    classes = len(np.unique(labels))
    if kind == "class_balanced" and batch_size < 2 * classes:
        raise StudyError(
            f"batch_size is {batch_size}, which is too small: this loss learns from pairs of images of each of the "
            f"{classes} classes; set it to at least {2 * classes}"
        )
    rng = np.random.default_rng(derive_seed(seed, "batches", epoch))
    order = {"shuffled": _shuffled, "class_balanced": _class_balanced}[kind](labels, rng)
    return order[: steps * batch_size].reshape(steps, batch_size)


def _shuffled(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(len(labels))


def _class_balanced(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N positions, ordered so that any consecutive positions hold each class equally often, up to a difference of one.

    A class with fewer images than its share is shuffled again and repeated.
    """
    classes = np.unique(labels)
    rounds = -(-len(labels) // len(classes))
    columns = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        repeats = -(-rounds // len(members))
        columns.append(np.concatenate([rng.permutation(members) for _ in range(repeats)])[:rounds])
    return np.stack(columns, axis=1).reshape(-1)[: len(labels)]
