"""Adversarial training: the clean images, and each training batch is attacked before the model learns from it.

The attack is N-FGSM (de Jorge et al. 2022, arXiv 2202.01181): random noise, then one step along the sign of the
gradient, without a projection to the ball of radius epsilon. It costs one more forward and backward pass per step. The
noise prevents what stops FGSM alone: catastrophic overfitting (Wong et al. 2020, arXiv 2001.03994), after which a model
withstands one large step and no sequence of small ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from robustness_study.core.section import Section
from robustness_study.training_sets import BatchAttack, Gradient

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The noise is independent from pixel to pixel, as in the corruptions of this kind.
CHANGES = ("noise",)
CONTROL = (
    "These models are a positive control: they are trained against attacks, so they should stay correct under attacks "
    "that defeat the other models. They show what robust looks like in this study."
)


class Config(Section):
    """`epsilon_255` is the size of the attack in units of 1/255; `noise` and `step` are in units of that size."""

    epsilon_255: float = Field(gt=0, le=64)
    noise: float = Field(ge=0, le=4)
    step: float = Field(gt=0, le=4)


def make(clean: np.ndarray, corrupted: np.ndarray, config: Config) -> np.ndarray:
    """The clean images, unchanged: training attacks them batch by batch."""
    return clean


def batch_attack(config: Config) -> BatchAttack:
    """N-FGSM with these settings."""
    return BatchAttack(config.epsilon_255, partial(n_fgsm, config=config))


def n_fgsm(images: Tensor, gradient: Gradient, rng: torch.Generator, config: Config) -> Tensor:
    """Attacked copies of images, float32 N×3×H×W in [0, 1]; a pixel moves by at most (noise + step) · epsilon.

    The noise is uniform in ± noise · epsilon. Both results are clipped to [0, 1], as in the authors' code.
    """
    import torch

    epsilon = config.epsilon_255 / 255
    largest = config.noise * epsilon
    noise = torch.empty_like(images).uniform_(-largest, largest, generator=rng)
    noisy = (images + noise).clamp(0, 1)
    return (noisy + config.step * epsilon * gradient(noisy).sign()).clamp(0, 1)
