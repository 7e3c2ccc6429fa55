"""CIFAR-10 (Krizhevsky 2009) from the archive of its binary release, read without unpacking it.

In: where an archive is or is to be fetched from. Out: a `Dataset` of 32×32 images. The archive is only
ever read as bytes of exactly the expected sizes; nothing in it is unpickled or written to disk.
Format and checksum: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.datasets.base import VARIABLE, Dataset, Places
from robustness_study.datasets.fetch import fetch, md5_of
from robustness_study.schema.download import Download

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE = "cifar-10-binary.tar.gz"
SIDE = 32
RECORDS = 10_000  # per batch file
RECORD_BYTES = 1 + 3 * SIDE * SIDE  # the label, then the red, green and blue planes
FOLDER = "cifar-10-batches-bin"
NAMES = f"{FOLDER}/batches.meta.txt"
TRAIN = [f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6)]
TEST = f"{FOLDER}/test_batch.bin"
MOST_NAME_BYTES = 4096
CLASSES = 10


def check(choice: Download) -> None:
    """StudyError unless `size` is the images' own."""
    if choice.size != SIDE:
        raise StudyError(
            f"params.yaml: download.size is {choice.size}: the images of cifar10 have {SIDE} pixels, set that"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The dataset from the archive that a person named, else from the official one, which is fetched once."""
    return load_archive(places.archive, places.fetched / ARCHIVE)


def load_archive(named: Path | None, kept: Path, url: str = URL, md5: str = MD5, records: int = RECORDS) -> Dataset:
    """The dataset from the archive `named`, whatever its checksum; else the official one, kept at `kept`."""
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
    )


def checksum_of_named(archive: Path) -> str:
    """The MD5 of the archive a person named; StudyError if there is no such file."""
    if not archive.is_file():
        raise StudyError(f"{VARIABLE} names {archive}, which is no file; correct it, or unset it to fetch the dataset")
    return md5_of(archive)


def ensure_official(kept: Path, url: str, md5: str) -> str:
    """Fetch the archive unless it is at `kept`; its MD5, or StudyError if that is not the official one."""
    if not kept.exists():
        print(f"fetching {url}", flush=True)
        fetch(url, kept, md5)
        return md5
    found = md5_of(kept)
    if found != md5:
        raise StudyError(
            f"{kept} has MD5 {found}, not the official {md5}; delete it to fetch it again, "
            f"or run with {VARIABLE}={kept} to use it as unofficial"
        )
    return found


def read_archive(archive: Path, records: int = RECORDS) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The class names, and each batch's (images, labels) by member name; StudyError if anything is amiss."""
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
                pass  # gzip compares its own checksum at the very end only
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise StudyError(f"{archive} cannot be read ({' '.join(str(error).split())}); get it again") from None
    present = set(batches) | ({NAMES} if names else set())
    missing = [member for member in (NAMES, *TRAIN, TEST) if member not in present]
    if missing:
        raise StudyError(f"{archive} lacks {missing[0]}; it must be CIFAR-10's binary release, packed as {URL}")
    return names, batches


def read_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, size: int | None) -> bytes:
    """A member's bytes, `size` of them (None: a few); StudyError before reading if it is anything else."""
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None:
        raise StudyError(f"{archive}: {member.name} is no plain file; get the archive again")
    if member.size > MOST_NAME_BYTES if size is None else member.size != size:
        wanted = f"at most {MOST_NAME_BYTES:,}" if size is None else f"{size:,}"
        raise StudyError(f"{archive}: {member.name} has {member.size:,} bytes, not {wanted}; get the archive again")
    return stream.read()


def parse_names(archive: Path, content: bytes) -> list[str]:
    """The ten class names, one a line."""
    names = content.decode("utf-8", errors="replace").split()
    if len(names) != CLASSES:
        raise StudyError(f"{archive}: {NAMES} has {len(names)} class names, not {CLASSES}; get the archive again")
    return names


def parse_batch(archive: Path, member: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images N×32×32×3 and labels N of one batch file."""
    table = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = table[:, 0].copy()
    beyond = np.flatnonzero(labels >= CLASSES)
    if beyond.size:
        at = int(beyond[0])
        raise StudyError(f"{archive}: {member}: record {at} has label {labels[at]}, not 0 to 9; get the archive again")
    planes = table[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
