"""Writing results: beside their place, then renamed, so that nothing is ever half-written.

No file holds a clock, a path or a machine's noise: the same values give the same bytes.
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
    """A path beside `path` to write to; renamed to `path` on success, removed on failure."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes; StudyError if there is no such file."""
    with replacing(target) as beside:
        try:
            shutil.copyfile(source, beside)
        except FileNotFoundError:
            raise StudyError(f"{source} does not exist; `dvc repro` makes it, `dvc checkout` restores it") from None


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON; StudyError on NaN or infinity, which JSON does not have."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        raise StudyError(
            f"{path} would hold a figure that is NaN or infinite, so it is not written; look at what it is made of"
        ) from None
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; StudyError if it is absent or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; `dvc repro` makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not JSON ({error}); delete it and run `dvc repro`") from None


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays; numpy stamps no clock into the archive."""
    with replacing(path) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def read_npz(path: str | Path, *names: str) -> tuple[np.ndarray, ...]:
    """The named arrays of a file; StudyError if the file or an array is absent or broken. Never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            absent = [name for name in names if name not in archive]
            if absent:
                raise StudyError(f"{path} has no array named {absent[0]!r}; delete it and run `dvc repro`")
            return tuple(archive[name] for name in names)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; `dvc repro` makes it, `dvc checkout` restores it") from None
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError):
        raise StudyError(f"{path} is broken or no .npz file; delete it and run `dvc repro`") from None
