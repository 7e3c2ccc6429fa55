"""Datasets: one file each, found by its name. The file says what it needs of params, and loads the images.

A dataset file holds `check(choice)`, which raises StudyError if the `download` section does not suit it, and
`load(choice, places)`, which returns a `Dataset` (base.py). Importing it imports neither torch nor an image library.
"""

from __future__ import annotations

from typing import Any

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.datasets.base import Dataset, Places
from robustness_study.schema.download import Download

HELPERS = ("base", "fetch")
NEEDS = ("check", "load")


def names() -> list[str]:
    """The datasets there are: the files beside this one."""
    return registry.names(__path__, HELPERS)


def check(choice: Download) -> None:
    """Raises StudyError if there is no such dataset, its file has a mistake, or these settings do not suit it."""
    if choice.dataset not in names():
        raise StudyError(
            f"params.yaml: download.dataset is {choice.dataset!r}, which does not exist; there are {', '.join(names())}"
        )
    _module(choice.dataset).check(choice)


def load(choice: Download, places: Places) -> Dataset:
    """The dataset that params name. Raises StudyError if it cannot be read."""
    return _module(choice.dataset).load(choice, places)


def _module(name: str) -> Any:
    return registry.module(__name__, name, names(), NEEDS)
