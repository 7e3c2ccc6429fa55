"""What an audit has done already, so that it goes on after it was stopped.

A part of an audit writes its arrays first and its record last. The record has a key: a digest of the model, the images
and the settings. A part whose record is there, complete and has the key of today is not done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record

KEY = "audit_sha256"


def kept(path: Path, key: str, arrays: Path | None = None, *names: str) -> dict[str, Any] | None:
    """The record at `path` if it has this key, and if the file `arrays` has arrays of these names; else None."""
    try:
        record = read_record(path, KEY)
        if record[KEY] != key:
            return None
        if arrays is not None:
            read_npz(arrays, *names)
    except StudyError:  # missing or damaged: the part is done again
        return None
    return record
