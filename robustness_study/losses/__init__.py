"""Losses: one file each, found by the file's name. The file says how batches are drawn, and it builds the head.

A loss file defines `Config` (its block in params.yaml), `BATCHES` ("shuffled" or "class_balanced") and
`make_head(config, features, classes)`, which returns a `Head` (losses/head.py). Reading a `Config` imports no torch, so
the stage `check` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

HELPERS = ("head",)
NEEDS = ("Config", "BATCHES", "make_head")
BATCHES = ("shuffled", "class_balanced")


def names() -> list[str]:
    """The names of all losses: the files in this folder, without helpers."""
    return registry.names(__path__, HELPERS)


def file_of(name: str) -> str:
    """The file of the loss, as a path from the root of the project."""
    return registry.file_of(__name__, name)


@dataclass(frozen=True)
class Loss:
    """A loss with its settings: it says how to draw batches, and builds the head to train."""

    name: str
    config: Section
    batches: str

    def make_head(self, features: int, classes: int) -> Head:
        """A new head for features N×`features` and `classes` classes, initialised from torch's global generator."""
        return _module(self.name).make_head(self.config, features, classes)


def make(name: str, config: dict[str, Any]) -> Loss:
    """The loss `name` with `config`, its block in params.yaml.

    Raises StudyError if the loss does not exist or its file has a mistake, and pydantic's ValidationError if the block
    is wrong.
    """
    module = _module(name)
    return Loss(name, module.Config(**config), module.BATCHES)


def config_class(name: str) -> type[Section]:
    """The schema of `loss_config.NAME`. Raises StudyError if the loss does not exist or its file has a mistake."""
    return _module(name).Config


def _module(name: str) -> Any:
    module = registry.module(__name__, name, names(), NEEDS)
    if module.BATCHES not in BATCHES:
        allowed = " or ".join(map(repr, BATCHES))
        raise StudyError(f"{file_of(name)}: BATCHES is {module.BATCHES!r}; it must be {allowed}")
    return module
