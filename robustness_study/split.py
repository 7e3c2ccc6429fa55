"""Splits the images into training, validation and test: stratified by class, with no image in two parts.

An image and its corrupted copies have the same index, so they are always in the same part. Two images with identical
pixels but different indices must not be in two parts either (Barz & Denzler 2020, arXiv 1902.00423).
"""

from __future__ import annotations

import hashlib

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed


def split(labels: np.ndarray, train_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, val) for `labels` (N,). `train_share`, in (0, 1), is the share of each class for training.

    The number of images is rounded for each class. Each class has at least one training and one validation image.
    Raises StudyError if a class has fewer than two images.
    """
    train = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise StudyError(
                f"split: class {label} has only {len(members)} training image; add images so that it has at least 2, "
                "one for training and one for validation"
            )
        count = min(max(round(train_share * len(members)), 1), len(members) - 1)
        train.append(np.random.default_rng(derive_seed(seed, "split", int(label))).permutation(members)[:count])
    chosen = np.sort(np.concatenate(train))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def duplicates(images: dict[str, np.ndarray]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Pairs of identical images in two different parts. Each image is given as (part, position in that part).

    `images` maps each part (for example "training") to its images, uint8 N×H×W×3.
    """
    first: dict[bytes, tuple[str, int]] = {}
    found = []
    for part, images_of_part in images.items():
        for position, image in enumerate(images_of_part):
            known = first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), (part, position))
            if known[0] != part:
                found.append((known, (part, position)))
    return found


def refuse_duplicates(images: dict[str, np.ndarray], names: dict[str, list[str]], accepted: bool) -> None:
    """Raise StudyError if identical images are in two parts; print a line instead if that is `accepted`.

    The text names one pair. `names` maps each part to what each of its images is called.
    """
    found = duplicates(images)
    if not found:
        return
    one, other = (f"{part} image {names[part][position]}" for part, position in found[0])
    message = (
        f"split: {len(found)} image(s) are in two parts, for example {one} and {other}, so scores on them are "
        "not scores on new images"
    )
    if not accepted:
        raise StudyError(f"{message}; remove them from the dataset, or set split.accept_duplicates to true")
    print(f"{message} (accepted)", flush=True)
