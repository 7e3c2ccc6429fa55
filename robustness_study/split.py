"""Which images train, validate and test: a split stratified by class, with no image on two sides.

An image and its corrupted copies have the same index, so no image is on two sides. Nor may the same pixels be on two
sides under two indices (Barz & Denzler 2020, arXiv 1902.00423).
"""

from __future__ import annotations

import hashlib

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed


def split(labels: np.ndarray, train_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, val) of labels N; the same share of every class, rounded, at least one each way.

    Raises StudyError if a class has fewer than two images.
    """
    train = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise StudyError(
                f"split: class {label} has {len(members)} training image; at least 2 are needed, "
                "one to train on and one to validate"
            )
        count = min(max(round(train_share * len(members)), 1), len(members) - 1)
        train.append(np.random.default_rng(derive_seed(seed, "split", int(label))).permutation(members)[:count])
    chosen = np.sort(np.concatenate(train))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def duplicates(images: dict[str, np.ndarray]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Pairs of exactly equal images, of uint8 N×H×W×3 by side, on two sides; each as (side, position)."""
    first: dict[bytes, tuple[str, int]] = {}
    found = []
    for side, of_side in images.items():
        for position, image in enumerate(of_side):
            known = first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), (side, position))
            if known[0] != side:
                found.append((known, (side, position)))
    return found


def refuse_duplicates(images: dict[str, np.ndarray], indices: dict[str, np.ndarray], accepted: bool) -> None:
    """StudyError, naming a pair by its raw indices, if an image is on two sides; a line where that is accepted."""
    found = duplicates(images)
    if not found:
        return
    one, other = (f"{side} image {indices[side][position]}" for side, position in found[0])
    told = (
        f"split: {len(found)} image(s) are on two sides, {one} and {other} for one; a score there is not of new images"
    )
    if not accepted:
        raise StudyError(f"{told}; take them out, or set split.accept_duplicates to true")
    print(f"{told} (accepted)", flush=True)
