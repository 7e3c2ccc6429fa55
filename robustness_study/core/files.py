"""Reads and writes result files. A file is written under a temporary name, then renamed, so it is always complete.

The same values always give the same bytes: no file holds a time, a machine path or anything else that changes.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError


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


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises StudyError if the file is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not JSON ({error}); delete it and run `dvc repro`") from None


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays to an .npz file. numpy stores no time in it, so the same arrays give the same bytes."""
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def read_npz(path: str | Path, *names: str) -> tuple[np.ndarray, ...]:
    """The named arrays of an .npz file, in the order of `names`. Never reads pickled objects.

    Raises StudyError if the file or an array is missing or broken.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise StudyError(f"{path} has no array named {missing[0]!r}; delete it and run `dvc repro`")
            return tuple(archive[name] for name in names)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it or `dvc checkout` to restore it") from None
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError):
        raise StudyError(f"{path} is broken or is not an .npz file; delete it and run `dvc repro`") from None
