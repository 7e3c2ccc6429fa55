"""The corruptions of the two studies: colour jitter, flip, a small rotation, and the mix of these with noise.

Severity 5 has the strengths of the studies, which are also those of `corrupt.mix` in params.yaml. Severity s has s/5 of
these strengths. The corrupted training images come from `robustness_study.corruptions.mix`, with the strengths of
params.yaml.
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
    """A numpy array as a float32 tensor on the device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(like.device)


@corruption(*SHARES)
def color_jitter(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation and hue at random, in random order."""
    strengths = JitterStrengths(
        brightness=BRIGHTNESS * share, contrast=CONTRAST * share, saturation=SATURATION * share, hue=HUE * share
    )
    return as_tensor(
        functions.color_jitter(images.cpu().numpy(), functions.draw_color_jitter(iter(draws.rngs), strengths)), images
    )


@corruption(*SHARES)
def horizontal_flip(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Mirror an image with a probability of half the share."""
    mirrored = draws.uniform(0, 1) < FLIP_PROBABILITY * share
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


@corruption(*SHARES)
def rotation(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Rotate by at most 10° times the share, in both directions. Areas from outside the image are black."""
    angles = draws.uniform(-MAX_DEGREES * share, MAX_DEGREES * share)
    return as_tensor(functions.rotation(images.cpu().numpy(), angles.cpu().numpy()), images)


@corruption(*SHARES)
def mix(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Colour jitter, rotation, flip and Gaussian noise: the corruption of the studies' training images."""
    jittered = color_jitter.function(images, share, draws)
    turned = rotation.function(jittered, share, draws)
    mirrored = horizontal_flip.function(turned, share, draws)
    return mirrored + SIGMA * share * draws.normal(*images.shape[1:])


@corruption(*SHARES)
def mix_without_flip(images: Tensor, share: float, draws: Draws) -> Tensor:
    """The mix without its flip (colour jitter, rotation, Gaussian noise), because training already flips images."""
    jittered = color_jitter.function(images, share, draws)
    turned = rotation.function(jittered, share, draws)
    return turned + SIGMA * share * draws.normal(*images.shape[1:])
