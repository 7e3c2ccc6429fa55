"""Reads and writes result files. A file is written under a temporary name, then renamed, so it is always complete.

The same values always give the same bytes: no file holds a time, a machine path or anything else that changes.
"""

from __future__ import annotations

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


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder to write to. It is renamed to `path` on success and removed on failure."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file. Raises StudyError if `source` does not exist."""
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
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it") from None
    except (ValueError, RecursionError) as error:  # also of bytes that are no text, and of endless nesting or digits
        raise StudyError(f"{path} is not JSON ({error}); delete it and run `dvc repro`") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise StudyError(f"{path} has no value named {missing[0]!r}; delete it and run `dvc repro`")
    return value


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays to an .npz file. numpy stores no time in it, so the same arrays give the same bytes."""
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def read_npz(path: str | Path, *names: str) -> tuple[np.ndarray, ...]:
    """The named arrays of an .npz file, in the order of `names`. Never reads pickled objects.

    Raises StudyError if the file or an array is missing or broken.
    """
    try:
        arrays = read_arrays(path, "delete it and run `dvc repro`", names)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it or `dvc checkout` to restore it") from None
    return tuple(arrays[name] for name in names)


def read_arrays(path: str | Path, remedy: str, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an .npz file: those of these names, or all if there are none. Never reads pickled objects.

    Raises OSError if the file cannot be opened. Raises StudyError, which ends with `remedy`, if the file is broken or
    has no array of a name.
    """
    with open(path, "rb") as stream:
        try:
            # A damaged header can look like one of Python 2, about which numpy warns.
            with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream) as archive:
                members = {member.removesuffix(".npy"): member for member in archive.namelist()}
                missing = [name for name in names if name not in members]
                if not missing:
                    return {name: _array(archive, members[name]) for name in names or members}
        except MemoryError:
            raise StudyError(f"{path} is broken or does not fit into memory; {remedy}") from None
        except DAMAGE:
            raise StudyError(f"{path} is broken or is not an .npz file of arrays; {remedy}") from None
    raise StudyError(f"{path} has no array named {missing[0]!r}; {remedy}")


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # zipfile compares checksums only at the end, which a damaged shape does not reach
            raise ValueError("there are more bytes than the shape needs")
        return array
