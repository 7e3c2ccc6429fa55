"""Noise: Gaussian, shot, impulse, speckle. Its strength does not depend on the size of the image."""

from __future__ import annotations

from torch import Tensor

from robustness_study.corruptions import corruption
from robustness_study.corruptions.draws import Draws


@corruption(0.04, 0.06, 0.08, 0.09, 0.10)
def gaussian_noise(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Add normal noise with standard deviation `sigma`."""
    return images + sigma * draws.normal(*images.shape[1:])


@corruption(500, 250, 100, 75, 50)
def shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Replace each value by a Poisson count of photons. White is `photons` of them on average."""
    return draws.poisson(images * photons) / photons


@corruption(0.01, 0.02, 0.03, 0.05, 0.07)
def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Set each value, with probability `share`, to black or white (both equally likely)."""
    fate = draws.uniform(0, 1, *images.shape[1:])
    return images.masked_fill(fate < share, 1.0).masked_fill(fate < share / 2, 0.0)


@corruption(0.06, 0.10, 0.12, 0.16, 0.20)
def speckle_noise(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Add normal noise with standard deviation `sigma` times the value."""
    return images + images * sigma * draws.normal(*images.shape[1:])
