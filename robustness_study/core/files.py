"""Reads and writes result files. A file is written under a temporary name, then renamed, so it is always complete.

The same values always give the same bytes: no file holds a time, a machine path or anything else that changes. What a
later stage reads has a checksum that is compared on reading: of each array in an .npz file (zip's CRC-32), and of the
content of a record (SHA-256). So a flipped bit on a disk ends a stage, and no wrong result comes out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import shutil
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.arrays import fault_of
from robustness_study.core.cached import remedy
from robustness_study.core.errors import StudyError

# What numpy, and the readers of archives in Python, raise if the bytes of a file are damaged.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    OSError,  # of gzip and bz2, and of a position before the beginning of the file
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,  # an encrypted file, and the subclasses NotImplementedError and RecursionError
    ArithmeticError,
    SyntaxError,
)
MOST_BYTES = 1 << 30  # of a record, a table or weights; arrays, which can be larger, are read in parts
DIGEST = "content_sha256"  # the key of a record's digest


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder to write to. It is renamed to `path` on success and removed on failure.

    After a loss of power there is the old file or the new one. An error of the operating system names `path`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(target)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the disk keep what was written to a file, or which files a folder holds.

    Without it, a loss of power soon after a rename could leave an empty file under the new name.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_irregular(path: str | Path, advice: str | None = None) -> None:
    """Raise StudyError for a pipe, a device or a folder, because reading one may never end. `advice` ends the text."""
    if Path(path).exists() and not Path(path).is_file():
        raise StudyError(f"{path} is not a regular file; {advice or remedy(path)}")


def read_bytes(path: str | Path, most: int = MOST_BYTES, advice: str | None = None) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises FileNotFoundError if it does not exist. Raises StudyError, which ends with `advice`, if it cannot be read, is
    something else than a file, or is larger. Without advice, it says how to make an output of the pipeline again.
    """
    refuse_irregular(path, advice)
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > most:
                raise StudyError(f"{path} has {size:,} bytes, more than {most:,}; {advice or remedy(path)}")
            return stream.read(most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}); {advice or remedy(path)}") from None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file. Raises StudyError if `source` does not exist or is not a regular file."""
    refuse_irregular(source)
    with replacing(target) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except FileNotFoundError:
            raise StudyError(
                f"{source} does not exist; run `dvc repro` to make it or `dvc checkout` to restore it"
            ) from None


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON. Raises StudyError for NaN or infinity, because JSON cannot hold them."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        raise StudyError(
            f"{path} is not written: one of its values is NaN or infinite; check the inputs of this stage"
        ) from None
    write_text(path, text + "\n")


def read_json(path: str | Path, *keys: str) -> Any:
    """The content of a JSON file. Raises StudyError if the file is missing or broken, or has no value at a key."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it") from None
    except (ValueError, RecursionError) as error:  # also of bytes that are no text, and of endless nesting or digits
        raise StudyError(f"{path} is not JSON ({error}); {remedy(path)}") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise StudyError(f"{path} has no value named {missing[0]!r}; {remedy(path)}")
    return value


def write_record(path: str | Path, values: dict[str, Any]) -> None:
    """Write JSON with the SHA-256 of its content, so that `read_record` notices any change."""
    write_json(path, {**values, DIGEST: content_digest(values)})


def read_record(path: str | Path, *keys: str) -> dict[str, Any]:
    """The content of a file that `write_record` wrote, without the digest.

    Raises StudyError if the file is missing or broken, was changed, or has no value at a key.
    """
    values: dict[str, Any] = read_json(path, *keys, DIGEST)
    if values.pop(DIGEST) != content_digest(values):
        raise StudyError(f"{path} was changed after it was written: its values do not fit its digest; {remedy(path)}")
    return values


def content_digest(values: Any) -> str:
    """SHA-256, in hexadecimal, of anything that JSON can hold. The order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def bytes_digest(content: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256, in hexadecimal, of the arrays' types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays to an .npz file. numpy stores no time in it, so the same arrays give the same bytes."""
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def read_npz(path: str | Path, *names: str) -> tuple[np.ndarray, ...]:
    """The named arrays of an .npz file, in the order of `names`. Never reads pickled objects.

    Raises StudyError if the file or an array is missing or broken.
    """
    try:
        arrays = read_arrays(path, None, names)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it or `dvc checkout` to restore it") from None
    for name in names:
        fault = fault_of(name, arrays[name])
        if fault is not None:
            raise StudyError(f"{path}: {name} {fault}; {remedy(path)}")
    sizes = {name: len(arrays[name]) for name in ("images", "labels") if name in names and arrays[name].ndim < 5}
    if len(set(sizes.values())) > 1:
        raise StudyError(f"{path} has {sizes['images']} images and {sizes['labels']} labels; {remedy(path)}")
    return tuple(arrays[name] for name in names)


def read_arrays(path: str | Path, advice: str | None, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an .npz file: those of these names, or all if there are none. Never reads pickled objects.

    Raises OSError if the file cannot be opened. Raises StudyError, which ends with `advice`, if the file is broken or
    has no array of a name. Without advice, it says how to make an output of the pipeline again.
    """
    refuse_irregular(path, advice)
    with open(path, "rb") as stream:
        try:
            # A damaged header can look like one of Python 2, about which numpy warns.
            with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream) as archive:
                members = {member.removesuffix(".npy"): member for member in archive.namelist()}
                missing = [name for name in names if name not in members]
                if not missing:
                    return {name: _array(archive, members[name]) for name in names or members}
        except MemoryError:
            raise StudyError(f"{path} is broken or does not fit into memory; {advice or remedy(path)}") from None
        except DAMAGE:
            raise StudyError(f"{path} is broken or is not an .npz file of arrays; {advice or remedy(path)}") from None
    raise StudyError(f"{path} has no array named {missing[0]!r}; {advice or remedy(path)}")


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # zipfile compares checksums only at the end, which a damaged shape does not reach
            raise ValueError("there are more bytes than the shape needs")
        return array
