"""The stage `download`: get the images that are studied, and say exactly what they are.

In: `download` of params.yaml; CIFAR10_ARCHIVE of the environment, an archive to use instead of fetching.
Out: data/raw/{train,test}.npz (`images` uint8 N×S×S×3, `labels` uint8 N), data/clean/train.npz (`images`,
the training set named "clean"), data/raw/source.json (what they are). Nothing is written unless all is well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from robustness_study.core import files, params
from robustness_study.core.errors import run
from robustness_study.datasets import cifar10, digits, folder
from robustness_study.datasets.base import Dataset, class_counts, validate
from robustness_study.schema.download import Download

KEPT_ARCHIVE = Path("data/external/cifar-10-binary.tar.gz")
RAW = Path("data/raw")
CLEAN = Path("data/clean")


def load(choice: Download, archive: Path | None) -> Dataset:
    """The dataset that `choice` names; `archive` is the one to read CIFAR-10 from, if a person named one."""
    match choice.dataset:
        case "cifar10":
            return cifar10.load(archive, KEPT_ARCHIVE)
        case "digits":
            return digits.load(choice.size)
        case "folder":
            assert choice.folder, "the schema asks for it"
            return folder.load(Path(choice.folder), choice.size)


def describe(dataset: Dataset, size: int) -> dict[str, Any]:
    """What source.json tells of a dataset; no path of the machine it was made on."""
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "checksum": dataset.checksum,
        "official": dataset.official,
        "classes": dataset.classes,
        "counts": {
            "train": class_counts(dataset.train_labels, dataset.classes),
            "test": class_counts(dataset.test_labels, dataset.classes),
        },
        "size": size,
    }


def main() -> None:
    """Load, validate, then write."""
    choice = params.section("download", Download)
    archive = os.environ.get(cifar10.VARIABLE)
    dataset = load(choice, Path(archive) if archive else None)
    validate(dataset, choice.size)
    files.write_npz(RAW / "train.npz", images=dataset.train_images, labels=dataset.train_labels)
    files.write_npz(RAW / "test.npz", images=dataset.test_images, labels=dataset.test_labels)
    files.write_npz(CLEAN / "train.npz", images=dataset.train_images)
    files.write_json(RAW / "source.json", describe(dataset, choice.size))
    sizes = f"{len(dataset.train_labels)} training and {len(dataset.test_labels)} test images"
    release = "the official release" if dataset.official else f"unofficial, {dataset.checksum}"
    print(f"download: {dataset.name}, {sizes} in {len(dataset.classes)} classes, {release}")


if __name__ == "__main__":
    run(main)
