"""Which images form which batch: int64 arrays of positions, steps × batch size.

Both ways give floor(N / batch size) full batches an epoch, so every loss sees as many images and
takes as many optimiser steps as any other.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed


def epoch_batches(way: str, labels: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """One epoch's batches, `way` being "shuffled" or "class_balanced".

    Raises StudyError if there are fewer images than one batch, or if a class-balanced batch is too small for two
    images of each class.
    """
    steps = len(labels) // batch_size
    if steps == 0:
        raise StudyError(
            f"recipe: batch_size {batch_size} is larger than the {len(labels)} training images; make it smaller"
        )
    classes = len(np.unique(labels))
    if way == "class_balanced" and batch_size < 2 * classes:
        raise StudyError(
            f"recipe: batch_size {batch_size} is too small for pairs of each of {classes} classes, which this loss "
            f"learns from; at least {2 * classes} is needed"
        )
    rng = np.random.default_rng(derive_seed(seed, "batches", epoch))
    order = {"shuffled": _shuffled, "class_balanced": _class_balanced}[way](labels, rng)
    return order[: steps * batch_size].reshape(steps, batch_size)


def _shuffled(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(len(labels))


def _class_balanced(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in which any run of consecutive ones holds each class equally often, give or take one.

    As many positions as images: a class with fewer than its share starts anew from a fresh shuffle.
    """
    classes = np.unique(labels)
    rounds = -(-len(labels) // len(classes))
    columns = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        repeats = -(-rounds // len(members))
        columns.append(np.concatenate([rng.permutation(members) for _ in range(repeats)])[:rounds])
    return np.stack(columns, axis=1).reshape(-1)[: len(labels)]
