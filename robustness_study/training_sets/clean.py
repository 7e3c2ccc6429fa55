"""The original images, unchanged."""

from __future__ import annotations

import numpy as np

from robustness_study.core.section import Section

CHANGES: tuple[str, ...] = ()


class Config(Section):
    """It has no settings."""


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The clean images, unchanged."""
    return clean
