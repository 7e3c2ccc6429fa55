"""Reads the files of CIFAR-10 from an archive or a folder, of the binary release or of the one for Python.

Files are found by their names, wherever they are in an archive. They are read only as bytes of the expected sizes:
nothing is unpacked to disk, and no pickle is run.
Formats: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import DAMAGE, read_bytes, refuse_irregular
from robustness_study.datasets import _cifar10_pickle

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
RECORD_BYTES = 1 + _cifar10_pickle.PIXELS  # a label and an image
MOST_NAME_BYTES = 4096
MOST_UNPACKED_BYTES = 1_000_000_000  # an archive of both releases has 370 million
OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # the first two bytes of the file
AGAIN = "get it again"


@dataclass(frozen=True)
class Release:
    """One of the two releases: its folder, its file of class names, and how the name of a batch file ends."""

    folder: str
    names: str
    ending: str

    @property
    def files(self) -> list[str]:
        """The names of the seven files: class names first, then batches."""
        return [self.names, *(batch + self.ending for batch in BATCHES)]


BINARY = Release("cifar-10-batches-bin", "batches.meta.txt", ".bin")
PYTHON = Release("cifar-10-batches-py", "batches.meta", "")


class Bounded:
    """A stream for `tarfile` that ends with an error where an archive unpacks to more than it may."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end."""
        self.check(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        """Skip to a position."""
        self.check(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        """The present position."""
        return self.stream.tell()

    def check(self, position: int) -> None:
        """Raise ReadError if the position is beyond the limit."""
        if position > MOST_UNPACKED_BYTES:
            raise tarfile.ReadError(f"it unpacks to more than {MOST_UNPACKED_BYTES:,} bytes")


def read(source: Path, records: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """The class names, and for each of `BATCHES` its records, uint8 N×3073.

    A record is a label, then all red, all green and all blue values. `source` is an archive (tar, also compressed) or a
    folder; `records` is the number of images in each batch. Raises StudyError if a file is missing, damaged, too large
    or not what it should be.
    """
    contents = from_folder(source, records) if source.is_dir() else from_archive(source, records)
    release = max(BINARY, PYTHON, key=lambda each: len(contents.keys() & set(each.files)))
    missing = [name for name in release.files if name not in contents]
    if missing:
        raise StudyError(
            f"{source} has no {missing[0]}; get a complete archive of CIFAR-10, or name the folder {BINARY.folder} or "
            f"{PYTHON.folder} itself"
        )
    names = class_names(source, release, contents[release.names])
    return names, {
        batch: batch_records(source, batch + release.ending, contents[batch + release.ending], records)
        for batch in BATCHES
    }


def from_folder(folder: Path, records: int) -> dict[str, bytes]:
    """The contents of CIFAR-10's files in a folder, by name."""
    found = {}
    for name in (*BINARY.files, *PYTHON.files):
        path = folder / name
        if path.exists() or path.is_symlink():
            refuse_irregular(path, AGAIN)
            try:
                check_size(folder, name, path.stat().st_size, records)
            except OSError as error:
                raise StudyError(f"{path} cannot be read ({error.strerror}); {AGAIN}") from None
            found[name] = read_bytes(path, advice=AGAIN)
    return found


def from_archive(archive: Path, records: int) -> dict[str, bytes]:
    """The contents of CIFAR-10's files in an archive, by name, in whatever folder they are there."""
    found: dict[str, bytes] = {}
    try:
        with opened(archive) as stream:
            bounded: Any = Bounded(stream)  # it has the three methods that `tarfile` uses
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    if name in BINARY.files or name in PYTHON.files:
                        if name in found:
                            raise StudyError(f"{archive} has two files {name}; remove one, or {AGAIN}")
                        found[name] = read_member(archive, tar, member, records)
            while bounded.read(1 << 20):
                pass  # read to the end, because gzip compares its checksum only there
    except (tarfile.TarError, *DAMAGE) as error:
        raise StudyError(f"{archive} cannot be read ({' '.join(str(error).split())}); delete it and {AGAIN}") from None
    return found


def opened(archive: Path) -> IO[bytes]:
    """The archive as a stream of its unpacked bytes. Its first bytes say how it is compressed, or that it is not."""
    with archive.open("rb") as stream:
        opener: Any = OPENERS.get(stream.read(2), open)
    unpacked: IO[bytes] = opener(archive, "rb")
    return unpacked


def read_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, records: int) -> bytes:
    """The content of a file in the archive. Raises StudyError, before it reads, if it is no file or too large."""
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None:
        raise StudyError(f"{archive}: {member.name} is not a regular file; {AGAIN}")
    check_size(archive, PurePosixPath(member.name).name, member.size, records)
    return stream.read()


def check_size(source: Path, name: str, size: int, records: int) -> None:
    """Raise StudyError unless a file has the size in bytes that its name promises."""
    if name.endswith(BINARY.ending):
        exact, most = True, records * RECORD_BYTES
    elif name in BATCHES:
        exact, most = False, records * (RECORD_BYTES + 100) + 4096  # beside the image: the name of its file, and more
    else:
        exact, most = False, MOST_NAME_BYTES
    if size > most or (exact and size != most):
        wanted = f"{most:,}" if exact else f"at most {most:,}"
        raise StudyError(f"{source}: {name} has {size:,} bytes, not {wanted}; {AGAIN}")


def class_names(source: Path, release: Release, content: bytes) -> list[str]:
    """The ten class names. Raises StudyError if there are not ten."""
    if release is BINARY:
        names = content.decode("utf-8", errors="replace").split()
    else:
        try:
            names = _cifar10_pickle.class_names(content)
        except ValueError as error:
            raise refused(source, release.names, error) from None
    if len(names) != 10:
        raise StudyError(f"{source}: {release.names} has {len(names)} class names, not 10; {AGAIN}")
    return names


def batch_records(source: Path, name: str, content: bytes, records: int) -> np.ndarray:
    """The records of a batch file, uint8 N×3073. Raises StudyError if they are broken or a label is above 9."""
    if name.endswith(BINARY.ending):
        table = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    else:
        try:
            table = _cifar10_pickle.batch_records(content, records)
        except ValueError as error:
            raise refused(source, name, error) from None
    beyond = np.flatnonzero(table[:, 0] > 9)
    if beyond.size:
        at = int(beyond[0])
        raise StudyError(f"{source}: {name}: record {at} has label {table[at, 0]}, not 0 to 9; {AGAIN}")
    return table


def refused(source: Path, name: str, error: ValueError) -> StudyError:
    """The error for a pickle that is not one of CIFAR-10's."""
    reason = " ".join(str(error).split())[:150]
    return StudyError(f"{source}: {name} is not a file of CIFAR-10 ({reason}); delete it and {AGAIN}")
