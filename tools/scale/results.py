"""Entries of dvc.lock that workers send back. The head keeps each in a file at once, and merges them at the end.

dvc.lock of a thousand models has hundreds of thousands of lines, so it is not written again after each model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustness_study.core.files import read_json, replacing, write_json
from tools.scale.board import FOLDER

KEPT = FOLDER / "done"


def keep(root: Path, key: str, entries: dict[str, Any]) -> None:
    """Keep a model's entries until `merge`."""
    write_json(root / KEPT / f"{key}.json", entries)


def merge(root: Path) -> None:
    """Write all entries that were kept into dvc.lock, as DVC would have done here. It is complete at every moment."""
    from dvc.utils.serialize import dumps_yaml

    kept = sorted((root / KEPT).glob("*.json"))
    if not kept:
        return
    locked = read_lock(root)
    for path in kept:
        locked["stages"].update(read_json(path))
    with replacing(root / "dvc.lock") as temporary:
        temporary.write_text(dumps_yaml(locked), encoding="utf-8", newline="\n")
    for path in kept:
        path.unlink()


def read_lock(root: Path) -> dict[str, Any]:
    """The content of dvc.lock, with its stages in order."""
    from dvc.utils.serialize import load_yaml

    path = root / "dvc.lock"
    found = load_yaml(str(path)) if path.exists() else {}
    return {"schema": "2.0", "stages": {}, **found}
