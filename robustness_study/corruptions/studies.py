"""The two studies' own: colour jitter, mirroring, a small rotation, and the mix of them with noise.

Severity 5 is what the studies used, and the strength of `corrupt.mix` in params.yaml; at severity s the strengths are
s/5 of that.
Training's own mix is `robustness_study.corruptions.mix` with the strengths of params.yaml.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustness_study.corruptions import corruption
from robustness_study.corruptions import mix as functions
from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.mix import JitterStrengths

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.4, 0.1
MAX_DEGREES = 10.0
FLIP_PROBABILITY = 0.5
SIGMA = 0.1


def as_tensor(images: np.ndarray, like: Tensor) -> Tensor:
    """Images of numpy where the others are."""
    return torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(like.device)


@corruption(*SHARES)
def color_jitter(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Brightness, contrast, saturation and hue, each changed at random, in random order."""
    strengths = JitterStrengths(
        brightness=BRIGHTNESS * share, contrast=CONTRAST * share, saturation=SATURATION * share, hue=HUE * share
    )
    return as_tensor(
        functions.color_jitter(images.cpu().numpy(), functions.draw_color_jitter(iter(draws.rngs), strengths)), images
    )


@corruption(*SHARES)
def horizontal_flip(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Mirrored, with a probability of half the share."""
    mirrored = draws.uniform(0, 1) < FLIP_PROBABILITY * share
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


@corruption(*SHARES)
def rotation(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Turned by up to 10° times the share, black where nothing comes from."""
    angles = draws.uniform(-MAX_DEGREES * share, MAX_DEGREES * share)
    return as_tensor(functions.rotation(images.cpu().numpy(), angles.cpu().numpy()), images)


@corruption(*SHARES)
def mix(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Colour jitter, rotation, mirroring and Gaussian noise: what the studies trained on."""
    jittered = color_jitter.function(images, share, draws)
    turned = rotation.function(jittered, share, draws)
    mirrored = horizontal_flip.function(turned, share, draws)
    return mirrored + SIGMA * share * draws.normal(*images.shape[1:])


@corruption(*SHARES)
def mix_without_flip(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Colour jitter, rotation and Gaussian noise: the mix without its flip, because training already flips images."""
    jittered = color_jitter.function(images, share, draws)
    turned = rotation.function(jittered, share, draws)
    return turned + SIGMA * share * draws.normal(*images.shape[1:])
