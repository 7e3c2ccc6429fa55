"""The images as they are."""

from __future__ import annotations

import numpy as np

from robustness_study.core.section import Section

CHANGES: tuple[str, ...] = ()


class Config(Section):
    """Nothing to set."""


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The clean images."""
    return clean
