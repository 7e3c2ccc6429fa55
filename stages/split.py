"""Stage `split@SEED`: decides which images train, validate and test, stratified by class.

Reads `data/raw/{train,test}.npz` and `data/raw/files.json`. Writes `data/split/SEED.npz` with sorted int32 index
arrays: `train` and `val` (into the raw training images) and `test` (into the raw test images).
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.files import read_npz, read_record, write_npz
from robustness_study.core.program import run
from robustness_study.schema.split import Split
from robustness_study.split import refuse_duplicates, split


def named(indices: np.ndarray, files: list[str] | None) -> list[str]:
    """What images are called in messages: by the file that each comes from, or else by its raw index."""
    return [repr(files[index]) if files else str(index) for index in indices]


def main() -> None:
    """Split; end with an error if two of the three sets share an image, unless `split.accept_duplicates` is true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    section = params.section("split", Split)
    train_images, train_labels = read_npz("data/raw/train.npz", "images", "labels")
    test_images, test_labels = read_npz("data/raw/test.npz", "images", "labels")
    train, val = split(train_labels, section.train_share, seed)
    test = np.arange(len(test_labels))
    sides = {"training": train_images[train], "validation": train_images[val], "test": test_images}
    files = read_record("data/raw/files.json", "training", "test")
    names = {
        "training": named(train, files["training"]),
        "validation": named(val, files["training"]),
        "test": named(test, files["test"]),
    }
    refuse_duplicates(sides, names, section.accept_duplicates)
    write_npz(
        f"data/split/{seed}.npz", train=train.astype(np.int32), val=val.astype(np.int32), test=test.astype(np.int32)
    )
    print(f"split {seed}: {len(train)} train, {len(val)} validate, {len(test)} test")


if __name__ == "__main__":
    run(main)
