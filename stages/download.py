"""Stage `download`: gets the dataset's images and records where they came from.

Reads the section `download` of params.yaml and the environment variable CIFAR10_ARCHIVE (an archive or a folder to use
instead of downloading). Writes `data/raw/{train,test}.npz` (`images` uint8 N×S×S×3, `labels` uint8 N),
`data/raw/files.json` (the names of the image files, if there are any) and `data/raw/source.json` (what the images are).
"""

from __future__ import annotations

import os
from pathlib import Path

from robustness_study import datasets
from robustness_study.core import files, params
from robustness_study.core.program import run
from robustness_study.datasets.base import VARIABLE, Places, describe, validate
from robustness_study.schema.download import Download

FETCHED = Path("data/external")
RAW = Path("data/raw")


def main() -> None:
    """Load and validate the dataset, then write it: nothing is written if anything is wrong."""
    choice = params.section("download", Download)
    datasets.check(choice)
    archive = os.environ.get(VARIABLE)
    dataset = datasets.load(choice, Places(Path(archive) if archive else None, FETCHED))
    validate(dataset, choice.size)
    files.write_npz(RAW / "train.npz", images=dataset.train_images, labels=dataset.train_labels)
    files.write_npz(RAW / "test.npz", images=dataset.test_images, labels=dataset.test_labels)
    files.write_record(RAW / "files.json", {"training": dataset.train_files, "test": dataset.test_files})
    files.write_record(RAW / "source.json", describe(dataset, choice.size))
    for note in dataset.notes:
        print(f"download: {note}")
    sizes = f"{len(dataset.train_labels)} training and {len(dataset.test_labels)} test images"
    release = "the official release" if dataset.official else f"unofficial, {dataset.checksum}"
    print(f"download: {dataset.name}, {sizes} in {len(dataset.classes)} classes, {release}")


if __name__ == "__main__":
    run(main)
