"""Stage `split@SEED`: raw labels → which images train, validate and test, stratified by class.

Out: `data/split/SEED.npz` with sorted int32 index arrays `train`, `val` (into the raw training images)
and `test` (into the raw test images). Splitting comes before corrupting, and a corrupted image has
the index of its original, so no image is on two sides (Barz & Denzler 2020, arXiv 1902.00423).
"""

from __future__ import annotations

import argparse

import numpy as np

from stages.lib import params
from stages.lib.errors import StudyError, run
from stages.lib.files import read_npz, write_npz
from stages.lib.schema.split import Split
from stages.lib.seeds import derive_seed


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    section = params.section("split", Split)
    (train_labels,) = read_npz("data/raw/train.npz", "labels")
    (test_labels,) = read_npz("data/raw/test.npz", "labels")
    train, val = split(train_labels, section.train_share, seed)
    test = np.arange(len(test_labels))
    write_npz(
        f"data/split/{seed}.npz", train=train.astype(np.int32), val=val.astype(np.int32), test=test.astype(np.int32)
    )
    print(f"split {seed}: {len(train)} train, {len(val)} validate, {len(test)} test")


if __name__ == "__main__":
    run(main)
