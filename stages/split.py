"""Stage `split@SEED`: raw labels → which images train, validate and test, stratified by class.

Out: `data/split/SEED.npz` with sorted int32 index arrays `train`, `val` (into the raw training images)
and `test` (into the raw test images). Splitting comes before corrupting, and a corrupted image has
the index of its original, so no image is on two sides. Nor may the same pixels be on two sides under
two indices (Barz & Denzler 2020, arXiv 1902.00423): the stage ends, naming a pair, unless
`split.accept_duplicates` says that they are known.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np

from robustness_study.core import params
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.seeds import derive_seed
from robustness_study.schema.split import Split


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    section = params.section("split", Split)
    train_images, train_labels = read_npz("data/raw/train.npz", "images", "labels")
    test_images, test_labels = read_npz("data/raw/test.npz", "images", "labels")
    train, val = split(train_labels, section.train_share, seed)
    test = np.arange(len(test_labels))
    sides = {"training": train_images[train], "validation": train_images[val], "test": test_images}
    refuse_duplicates(sides, {"training": train, "validation": val, "test": test}, section.accept_duplicates)
    write_npz(
        f"data/split/{seed}.npz", train=train.astype(np.int32), val=val.astype(np.int32), test=test.astype(np.int32)
    )
    print(f"split {seed}: {len(train)} train, {len(val)} validate, {len(test)} test")


if __name__ == "__main__":
    run(main)
