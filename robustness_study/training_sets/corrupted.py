"""The corrupted images of the two studies: the copies that the stage `corrupt` makes."""

from __future__ import annotations

import numpy as np

from robustness_study.core.section import Section

CHANGES: tuple[str, ...] = ()  # the studies' corruption always counts as seen, for every training set


class Config(Section):
    """It has no settings: the `corrupt` section of params.yaml sets the corruption."""


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The corrupted images, unchanged."""
    return corrupted
