"""The two studies' corrupted images: what the stage `corrupt` makes of every image."""

from __future__ import annotations

import numpy as np

from robustness_study.core.section import Section

CHANGES: tuple[str, ...] = ()  # the study's corruption counts as seen for every model, whatever it trained on


class Config(Section):
    """Nothing to set: the `corrupt` section says what the corruption is."""


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The corrupted images."""
    return corrupted
