"""CIFAR-10 (Krizhevsky 2009): 32×32 images, downloaded, or read from an archive or a folder that the user names.

The images are official if the six batch files have the published contents, whatever wraps them. Then the dataset is the
same wherever it came from.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import refuse_irregular
from robustness_study.datasets._cifar10_files import BATCHES, BINARY, PYTHON, read_batches, read_class_names
from robustness_study.datasets.base import VARIABLE, Dataset, Places, array_checksum
from robustness_study.datasets.fetch import Limits, fetch
from robustness_study.schema.download import Download

ARCHIVE = "cifar-10-binary.tar.gz"
MOST_BYTES = 200_000_000  # the archive has 162 MiB
SIDE = 32
CORRECT = (  # what to do about a broken copy that the user named
    f"correct {VARIABLE} (an archive of CIFAR-10, or its folder {BINARY.folder} or {PYTHON.folder}), or get it again"
)
DOWNLOAD_AGAIN = "delete the file to download it again"


@dataclass(frozen=True)
class Published:
    """What was published: the page, the archive of the binary release with its MD5, and what that archive holds.

    `batch_md5s` are the MD5s of the files of `BATCHES`, in this order. Each holds `records` images.
    """

    page: str
    url: str
    md5: str
    batch_md5s: tuple[str, ...]
    records: int
    classes: tuple[str, ...]


OFFICIAL = Published(
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    batch_md5s=(
        "5dd7e06a14cb22eb9f671a540d1b7c25",
        "5ea93a67294ea407fff1d09f752e9692",
        "942cd6a4bcdd0dd3c604fbe906cb4421",
        "ae636b3ba5c66a11e91e8cb52e771fcb",
        "53f37980c15c3d472c316c40844f3f0d",
        "803d5f7f4d78ea53de84dbe85f74fb6d",
    ),
    records=10_000,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)


def check(choice: Download) -> None:
    """Raise StudyError unless `size` is 32, the width of the images."""
    if choice.size != SIDE:
        raise StudyError(
            f"params.yaml: download.size is {choice.size}, but cifar10 images are {SIDE} pixels wide; set it to {SIDE}"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The dataset from what the user named, or else from the official archive, which is downloaded once."""
    return load_from(places.archive, places.fetched / ARCHIVE)


def load_from(named: Path | None, kept: Path, published: Published = OFFICIAL) -> Dataset:
    """The dataset from `named`, an archive or a folder with any contents. If None: the official images, from `kept`.

    Official images have the published class names, so their file of class names is not read and may be missing.
    Raises StudyError if the files cannot be had, are broken, or (in `kept`) are not the published ones. Raises OSError
    if the system cannot read them.
    """
    if named:
        check_named(named)
    else:
        ensure_there(kept, published)
    source, advice = (named, CORRECT) if named else (kept, DOWNLOAD_AGAIN)
    release, tables = read_batches(source, published.records, advice)
    official = are_published(tables, published)
    if not named and not official:
        raise StudyError(
            f"{kept} does not hold the official images; {DOWNLOAD_AGAIN}, or run with {VARIABLE}={kept} to use it as "
            "unofficial data"
        )
    classes = list(published.classes) if official else read_class_names(source, release, advice)
    train, test = np.concatenate([tables[batch] for batch in BATCHES[:-1]]), tables[BATCHES[-1]]
    arrays = images_of(train), train[:, 0].copy(), images_of(test), test[:, 0].copy()
    return Dataset(
        name="cifar10",
        origin=published.page if official else "a local copy",
        checksum=array_checksum(*arrays),
        official=official,
        classes=classes,
        train_images=arrays[0],
        train_labels=arrays[1],
        test_images=arrays[2],
        test_labels=arrays[3],
        jpeg_share=0.0 if official else None,  # other images may have been JPEG files
    )


def check_named(source: Path) -> None:
    """Raise StudyError unless what the user named is a file or a folder."""
    if not source.is_file() and not source.is_dir():
        raise StudyError(
            f"the environment variable {VARIABLE} is {source}, which is neither a file nor a folder; correct the path, "
            "or unset the variable to download the dataset"
        )


def ensure_there(kept: Path, published: Published) -> None:
    """Download the archive to `kept` if nothing is there. Raises StudyError if that fails, or if it is no file."""
    refuse_irregular(kept, "delete it")
    if not kept.exists():
        print(f"download: fetching {published.url}", flush=True)
        fetch(published.url, kept, published.md5, Limits(MOST_BYTES))


def are_published(tables: dict[str, np.ndarray], published: Published) -> bool:
    """Whether the records of each batch, uint8 N×3073, are byte for byte the published batch file."""
    found = (hashlib.md5(tables[batch].tobytes(), usedforsecurity=False).hexdigest() for batch in BATCHES)
    return tuple(found) == published.batch_md5s


def images_of(table: np.ndarray) -> np.ndarray:
    """Images uint8 N×32×32×3 from records uint8 N×3073."""
    planes = table[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
