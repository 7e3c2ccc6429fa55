"""CIFAR-10 (Krizhevsky 2009): 32×32 images, read from the archive of the binary release.

The archive is downloaded if it is not there. It is read only as bytes of exactly the expected sizes: nothing in it is
unpickled or written to disk.
Format and checksum: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import DAMAGE, refuse_irregular
from robustness_study.datasets.base import VARIABLE, Dataset, Places
from robustness_study.datasets.fetch import Limits, fetch, md5_of
from robustness_study.schema.download import Download

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE = "cifar-10-binary.tar.gz"
MOST_BYTES = 200_000_000  # the archive has 162 MiB
SIDE = 32
RECORDS = 10_000  # in each batch file
RECORD_BYTES = 1 + 3 * SIDE * SIDE  # the label, then all red, all green and all blue values
FOLDER = "cifar-10-batches-bin"
NAMES = f"{FOLDER}/batches.meta.txt"
TRAIN = [f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6)]
TEST = f"{FOLDER}/test_batch.bin"
MOST_NAME_BYTES = 4096
CLASSES = 10


def check(choice: Download) -> None:
    """Raise StudyError unless `size` is 32, the width of the images."""
    if choice.size != SIDE:
        raise StudyError(
            f"params.yaml: download.size is {choice.size}, but cifar10 images are {SIDE} pixels wide; set it to {SIDE}"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The dataset from the archive that the user named, or else from the official archive, which is downloaded once."""
    return load_archive(places.archive, places.fetched / ARCHIVE)


def load_archive(named: Path | None, kept: Path, url: str = URL, md5: str = MD5, records: int = RECORDS) -> Dataset:
    """The dataset from the archive `named`, with any checksum. If that is None: from the official archive at `kept`.

    `records` is the number of images in each batch file. Raises StudyError if the archive cannot be had or is broken.
    """
    archive = named or kept
    checksum = checksum_of_named(archive) if named else ensure_official(kept, url, md5)
    names, batches = read_archive(archive, records)
    return Dataset(
        name="cifar10",
        origin=url if checksum == md5 else "a local archive",
        checksum=f"md5:{checksum}",
        official=checksum == md5,
        classes=names,
        train_images=np.concatenate([batches[member][0] for member in TRAIN]),
        train_labels=np.concatenate([batches[member][1] for member in TRAIN]),
        test_images=batches[TEST][0],
        test_labels=batches[TEST][1],
        jpeg_share=0.0 if checksum == md5 else None,  # another archive may hold images that were JPEG files
    )


def checksum_of_named(archive: Path) -> str:
    """The MD5 of the archive that the user named. Raises StudyError if the file does not exist."""
    if not archive.is_file():
        raise StudyError(
            f"the environment variable {VARIABLE} is {archive}, which is not a file; correct the path, or unset the "
            "variable to download the dataset"
        )
    return md5_of(archive)


def ensure_official(kept: Path, url: str, md5: str) -> str:
    """Download the archive to `kept` if it is not there. Returns its MD5.

    Raises StudyError if the download fails or if the MD5 is not the official one.
    """
    if not kept.exists():
        print(f"download: fetching {url}", flush=True)
        fetch(url, kept, md5, Limits(MOST_BYTES))
        return md5
    refuse_irregular(kept, "delete it")
    found = md5_of(kept)
    if found != md5:
        raise StudyError(
            f"{kept} has MD5 {found}, not the official {md5}; delete the file to download it again, "
            f"or run with {VARIABLE}={kept} to use it as unofficial data"
        )
    return found


def read_archive(archive: Path, records: int = RECORDS) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The class names, and for each batch file its (images, labels).

    `records` is the number of images in each batch file. Raises StudyError if the archive is broken or incomplete.
    """
    names: list[str] = []
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.name == NAMES:
                    names = parse_names(archive, read_member(archive, tar, member, None))
                elif member.name in (*TRAIN, TEST):
                    content = read_member(archive, tar, member, records * RECORD_BYTES)
                    batches[member.name] = parse_batch(archive, member.name, content)
            while stream.read(1 << 20):
                pass  # read to the end, because gzip compares its checksum only there
    except (tarfile.TarError, *DAMAGE) as error:
        raise StudyError(
            f"{archive} cannot be read ({' '.join(str(error).split())}); delete it and get it again"
        ) from None
    present = set(batches) | ({NAMES} if names else set())
    missing = [member for member in (NAMES, *TRAIN, TEST) if member not in present]
    if missing:
        raise StudyError(f"{archive} has no {missing[0]}; use the binary release of CIFAR-10, with the files of {URL}")
    return names, batches


def read_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, size: int | None) -> bytes:
    """The content of a file in the archive: exactly `size` bytes (None: at most 4,096 bytes).

    Raises StudyError, before it reads, if the size is different or if it is not a regular file.
    """
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None:
        raise StudyError(f"{archive}: {member.name} is not a regular file; get the archive again")
    if member.size > MOST_NAME_BYTES if size is None else member.size != size:
        wanted = f"at most {MOST_NAME_BYTES:,}" if size is None else f"{size:,}"
        raise StudyError(f"{archive}: {member.name} has {member.size:,} bytes, not {wanted}; get the archive again")
    return stream.read()


def parse_names(archive: Path, content: bytes) -> list[str]:
    """The ten class names, one on each line of `content`. Raises StudyError if there are not ten."""
    names = content.decode("utf-8", errors="replace").split()
    if len(names) != CLASSES:
        raise StudyError(f"{archive}: {NAMES} has {len(names)} class names, not {CLASSES}; get the archive again")
    return names


def parse_batch(archive: Path, member: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 N×32×32×3 and labels uint8 (N,) of one batch file. Raises StudyError if a label is above 9."""
    table = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = table[:, 0].copy()
    beyond = np.flatnonzero(labels >= CLASSES)
    if beyond.size:
        at = int(beyond[0])
        raise StudyError(f"{archive}: {member}: record {at} has label {labels[at]}, not 0 to 9; get the archive again")
    planes = table[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
