"""Random textures N×H×W, one for each image: clouds and ice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.sampling import along_lines, motion_weights


def clouds(side: int, decay: float, draws: Draws) -> Tensor:
    """Clouds N×side×side in [0, 1]: a plasma fractal by midpoint displacement (Fournier, Fussell & Carpenter 1982).

    Opposite borders fit together (a torus). The range of the displacements is divided by decay² each time their
    spacing is halved.
    """
    size = 2 ** math.ceil(math.log2(side))
    count = len(draws.indices)
    heights = torch.zeros((count, size, size), device=draws.device)
    spacing, reach = size, 1.0
    while spacing >= 2:
        half, cells = spacing // 2, size // spacing
        shifts = draws.uniform(-reach, reach, 3, cells, cells)
        corners = heights[:, ::spacing, ::spacing]
        below = corners + corners.roll(-1, 1)
        middles = (below + below.roll(-1, 2)) / 4 + shifts[:, 0]
        heights[:, half::spacing, half::spacing] = middles
        across = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::spacing, half::spacing] = across / 4 + shifts[:, 1]
        down = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, half::spacing, ::spacing] = down / 4 + shifts[:, 2]
        spacing, reach = half, reach / decay**2
    low, high = heights.amin((1, 2), keepdim=True), heights.amax((1, 2), keepdim=True)
    return ((heights - low) / (high - low))[:, :side, :side]


# Chosen so that frost changes 500 images as much as that of CIFAR-10-C; see tests/test_corruptions_reference.py.
ICE_MEAN, ICE_BETWEEN, ICE_CLOUDS, ICE_NEEDLES = 0.578, 0.19, 0.25, 0.1


def ice(side: int, scale: float, draws: Draws) -> Tensor:
    """Frost on a window, N×side×side in [0, 1]: needles of ice on clouds of ice.

    The needles have two directions, 60° apart, as ice crystals grow. The mean thickness is different for each image, as
    it is in different places on a window. `scale` is the width of the images divided by 32 pixels.
    """
    thickness = ICE_MEAN + ICE_BETWEEN * draws.normal(1, 1)
    patches = ICE_CLOUDS * (clouds(side, 1.4, draws) - 0.5)
    grown = draws.normal(2, side, side)
    angle = draws.uniform(0, 360)
    weights = motion_weights(3 * scale, 1.2 * scale)
    weights = weights / math.sqrt((weights**2).sum())
    needles = [along_lines(grown[:, i : i + 1], angle + 60 * i, weights)[:, 0] for i in range(2)]
    return (thickness + patches + ICE_NEEDLES * torch.maximum(*needles)).clamp(0, 1)
