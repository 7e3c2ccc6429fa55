"""Reads the files of CIFAR-10 from an archive or a folder, of the binary release or of the one for Python.

Files are found by their names, wherever they are in an archive. They are read only as bytes of the expected sizes:
nothing is unpacked to disk, and no pickle is run.
Formats: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.datasets import _cifar10_pickle
from robustness_study.datasets._tar import Forward, members

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
RECORD_BYTES = 1 + _cifar10_pickle.PIXELS  # a label and an image
MOST_NAME_BYTES = 4096
MOST_UNPACKED_BYTES = 1_000_000_000  # an archive of both releases has 370 million
OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7z", lzma.open))  # by the beginning of the file
BROKEN = (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, MemoryError)  # what reading an archive raises


@dataclass(frozen=True)
class Release:
    """One of the two releases: its folder, its file of class names, and how the name of a batch file ends."""

    folder: str
    names: str
    ending: str

    @property
    def batches(self) -> list[str]:
        """The names of the six batch files, in the order of `BATCHES`."""
        return [batch + self.ending for batch in BATCHES]


BINARY = Release("cifar-10-batches-bin", "batches.meta.txt", ".bin")
PYTHON = Release("cifar-10-batches-py", "batches.meta", "")


def read_batches(source: Path, records: int, advice: str) -> tuple[Release, dict[str, np.ndarray]]:
    """The release, and for each of `BATCHES` its records, uint8 N×3073.

    A record is a label, then all red, all green and all blue values. `source` is an archive (tar, also compressed) or a
    folder; `records` is the number of images in each batch. Raises StudyError, which ends with `advice`, if a file is
    missing, damaged, too large or not what it should be. Raises OSError if the system cannot read the files.
    """
    with explained(source, advice):
        found = contents(source, (*BINARY.batches, *PYTHON.batches), records)
        release = max(BINARY, PYTHON, key=lambda each: len(found.keys() & set(each.batches)))
        missing = [name for name in release.batches if name not in found]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        tables = (batch_records(name, found[name], records) for name in release.batches)
        return release, dict(zip(BATCHES, tables, strict=True))


def read_class_names(source: Path, release: Release, advice: str) -> list[str]:
    """The ten class names, from the file for them. Raises StudyError and OSError as `read_batches` does."""
    with explained(source, advice):
        content = contents(source, (release.names,), 0).get(release.names)
        if content is None:
            raise ValueError(f"it has no {release.names}")
        if release is BINARY:
            names = content.decode("utf-8", errors="replace").split()
        else:
            with named(release.names):
                names = _cifar10_pickle.class_names(content)
        if len(names) != 10:
            raise ValueError(f"{release.names} has {len(names)} class names, not 10")
        return names


@contextmanager
def explained(source: Path, advice: str) -> Iterator[None]:
    """Raise StudyError with this advice if the content of `source` is not as it should be.

    An error of the system, such as a missing permission, is no fault of the content. It is raised as it is.
    """
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.strerror is not None:
            error.filename = error.filename or str(source)
            raise
        said = " ".join(str(error).split())[:150]
        if isinstance(error, MemoryError):
            said = "to read it takes more memory than there is"
        what = f": {said}" if isinstance(error, (ValueError, MemoryError)) else f" cannot be read ({said})"
        raise StudyError(f"{source}{what}; {advice}") from None


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let an error of a pickle name its file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name} is not a file of CIFAR-10 ({error})") from None


def contents(source: Path, wanted: Collection[str], records: int) -> dict[str, bytes]:
    """The contents of those files in a folder or an archive that have one of these names. Raises one of `BROKEN`."""
    return from_folder(source, wanted, records) if source.is_dir() else from_archive(source, wanted, records)


def from_folder(folder: Path, wanted: Collection[str], records: int) -> dict[str, bytes]:
    """As `contents`, from a folder."""
    found = {}
    for name in wanted:
        path = folder / name
        if path.exists() or path.is_symlink():
            if path.exists() and not path.is_file():
                raise ValueError(f"{name} is not a regular file")
            with path.open("rb") as stream:
                check_size(name, path.stat().st_size, records)
                found[name] = stream.read(size_limit(name, records) + 1)
            check_size(name, len(found[name]), records)  # again: a special file has another size than it says
    return found


def from_archive(archive: Path, wanted: Collection[str], records: int) -> dict[str, bytes]:
    """As `contents`, from an archive, in whatever folder the files are there."""
    found: dict[str, bytes] = {}
    if archive.stat().st_size > MOST_UNPACKED_BYTES:
        raise ValueError(f"it has more than {MOST_UNPACKED_BYTES:,} bytes")
    with opened(archive) as unpacked:
        stream = Forward(unpacked, MOST_UNPACKED_BYTES)
        for member in members(stream):
            if member.name in wanted:
                if member.name in found:
                    raise ValueError(f"it has two files {member.name}")
                if not member.regular:
                    raise ValueError(f"{member.name} is not a regular file")
                check_size(member.name, member.size, records)
                found[member.name] = member.read()
        stream.finish()
    return found


def opened(archive: Path) -> IO[bytes]:
    """The archive as a stream of its unpacked bytes. Its first bytes say how it is compressed, or that it is not."""
    with archive.open("rb") as stream:
        start = stream.read(3)
    opener: Any = next((opener for magic, opener in OPENERS if start.startswith(magic)), open)
    unpacked: IO[bytes] = opener(archive, "rb")
    return unpacked


def size_limit(name: str, records: int) -> int:
    """The largest size in bytes of a file with this name. A batch of the binary release has exactly this size."""
    if name in BINARY.batches:
        return records * RECORD_BYTES
    return records * (RECORD_BYTES + 100) + 4096 if name in PYTHON.batches else MOST_NAME_BYTES  # 100: its file's name


def check_size(name: str, size: int, records: int) -> None:
    """Raise ValueError unless a file has the size in bytes that its name promises."""
    most, exact = size_limit(name, records), name in BINARY.batches
    if size > most or (exact and size != most):
        raise ValueError(f"{name} has {size:,} bytes, not {'' if exact else 'at most '}{most:,}")


def batch_records(name: str, content: bytes, records: int) -> np.ndarray:
    """The records of a batch file, uint8 N×3073. Raises ValueError if they are broken or a label is above 9."""
    if name in BINARY.batches:
        table = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    else:
        with named(name):
            table = _cifar10_pickle.batch_records(content, records)
    beyond = np.flatnonzero(table[:, 0] > 9)
    if beyond.size:
        at = int(beyond[0])
        raise ValueError(f"{name}: record {at} has label {table[at, 0]}, not 0 to 9")
    return table
