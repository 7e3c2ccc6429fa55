"""AugMix: each image mixed with chains of operations on it (Hendrycks et al. 2020, arXiv 1912.02781).

None of the operations is a corruption of CIFAR-10-C. The authors draw anew in each epoch, after cropping and flipping,
and add a consistency loss. Here an image has one copy, made before training, for any loss.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from robustness_study.core.section import Section

CHANGES = ("brightness", "contrast", "rotation")  # autocontrast and equalize move levels, shears are affine maps


class Config(Section):
    """Each image is mixed with `chains` chains of up to `depth` operations, as strong as `severity` says, of 10."""

    chains: int = Field(ge=1, le=10)
    depth: int = Field(ge=1, le=10)
    severity: float = Field(ge=0.1, le=10)
    seed: int = Field(ge=0)


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The mixed copies, rounded, of the clean images."""
    from robustness_study.training_sets._chains import Settings, augmix

    return augmix(clean, Settings(**config.model_dump()), "train")
