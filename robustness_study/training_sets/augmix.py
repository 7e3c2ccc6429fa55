"""AugMix: each image is mixed with the results of chains of operations (Hendrycks et al. 2020, arXiv 1912.02781).

None of the operations is a corruption of CIFAR-10-C. The authors make new copies in each epoch, after crop and flip,
and add a consistency loss. Here each image has one copy, made before training, and any loss can be used.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from robustness_study.core.section import Section, Seed

CHANGES = (
    "brightness",
    "contrast",
    "rotation",
)  # autocontrast and equalize change levels; shears are affine maps


class Config(Section):
    """Each image is mixed with `chains` chains of 1 to `depth` operations. `severity` is their strength, at most 10."""

    chains: int = Field(ge=1, le=10)
    depth: int = Field(ge=1, le=10)
    severity: float = Field(ge=0.1, le=10)
    seed: Seed


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The mixed copies of the clean images, rounded to bytes."""
    from robustness_study.training_sets._chains import Settings, augmix

    return augmix(clean, Settings(**config.model_dump()), "train")
