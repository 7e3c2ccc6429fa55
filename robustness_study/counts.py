"""Checks that params.yaml fits the numbers of images, before anything is trained.

Which images train, are attacked or are in a plane follows from the labels alone. This file asks the functions that
decide it in the later stages, so both always agree. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robustness_study.attacks.catalogue import attacked_images
from robustness_study.core.errors import StudyError
from robustness_study.planes.umap_plane import images_of_plane
from robustness_study.schema.attack import Attack
from robustness_study.schema.embed import Embed
from robustness_study.split import split
from robustness_study.training.batches import epoch_batches


def check_batches(
    labels: np.ndarray, train_share: float, seeds: Sequence[int], batches: Mapping[str, str], recipe: str, size: int
) -> None:
    """Raise StudyError unless each loss can draw batches of `size` images from each seed's training images.

    `labels`, uint8 N, are those of all images of the training part. `batches` maps each loss to its kind of batches.
    `recipe` is the name of the recipe that sets `size`.
    """
    for seed in seeds:
        train, _ = split(labels, train_share, seed)
        for loss, kind in batches.items():
            try:
                epoch_batches(kind, labels[train], size, seed, 1)
            except StudyError as error:
                raise StudyError(f"params.yaml: recipes.{recipe}.{error} (loss {loss})") from None


def check_planes(labels: np.ndarray, embed: Embed, attack: Attack) -> None:
    """Raise StudyError unless the UMAP planes have enough images, of several classes, and some that are attacked.

    `labels`, uint8 N, are those of all test images.
    """
    chosen = images_of_plane(labels, embed)
    if not np.isin(chosen, attacked_images(labels, attack.images, attack.seed)).any():
        raise StudyError(
            f"params.yaml: embed.images is {embed.images} and attack.images is {attack.images}, but no test image is "
            "chosen for both, so the plane would have no attacked image; raise one of them"
        )
