"""The committed params with some values changed, for the tests of `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustness_study.core import params

REPOSITORY = Path(__file__).resolve().parents[1]
COMMITTED = REPOSITORY / "params.yaml"
ABSENT = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The values of the committed file with some dotted keys changed; ABSENT removes a key."""
    values = params.read(COMMITTED)
    for key, value in changes:
        *sections, name = key.split(".")
        block = values
        for section in sections:
            block = block[section]
        if value is ABSENT:
            del block[name]
        else:
            block[name] = value
    return values
