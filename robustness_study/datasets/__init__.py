"""Datasets: one file for each, found by its name. The file checks its settings and loads the images.

A dataset file defines `check(choice)`, which raises StudyError if the `download` section does not fit the dataset, and
`load(choice, places)`, which returns a `Dataset` (base.py). Importing the file must not import torch or an image
library.
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
    """The names of all datasets: the other files in this folder."""
    return registry.names(__path__, HELPERS)


def check(choice: Download) -> None:
    """Raise StudyError if the dataset does not exist, if its file has a mistake, or if the settings do not fit it."""
    if choice.dataset not in names():
        raise StudyError(
            f"params.yaml: download.dataset is {choice.dataset!r}, which does not exist; "
            f"choose one of {', '.join(names())}"
        )
    _module(choice.dataset).check(choice)


def load(choice: Download, places: Places) -> Dataset:
    """The dataset chosen in params. Raises StudyError if it cannot be read."""
    return _module(choice.dataset).load(choice, places)


def _module(name: str) -> Any:
    return registry.module(__name__, name, names(), NEEDS)
