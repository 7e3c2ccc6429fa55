"""Blurs: defocus, frosted glass, motion, zoom, Gaussian. Lengths are in pixels of an image 32 pixels wide."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from robustness_study.corruptions import corruption
from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.sampling import (
    along_lines,
    blur,
    motion_weights,
    scale_of,
    side_of,
    sum_of_zooms,
    zoom_sizes,
)


@corruption((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
def defocus_blur(images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """Blur with a disk, as out of focus. Constants: radius of the disk, σ of the 3×3 Gaussian that softens its edge."""
    radius, softness = (constant * scale_of(images) for constant in constants)
    reach = math.ceil(radius) + 1  # one pixel more, because the Gaussian widens the disk
    at = np.arange(-reach, reach + 1)
    disk = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    soft = np.exp(-0.5 * (np.arange(-1, 2) / softness) ** 2)
    edge = np.pad(disk / disk.sum(), 1)
    size = len(at)
    kernel = sum(
        np.outer(soft, soft)[row, column] / soft.sum() ** 2 * edge[row : row + size, column : column + size]
        for row in range(3)
        for column in range(3)
    )
    height, width = images.shape[2:]
    framed = pad(images, (reach,) * 4, mode="reflect")
    out = torch.zeros_like(images)
    for row, column in np.argwhere(kernel > 1e-9).tolist():
        out += float(kernel[row, column]) * framed[:, :, row : row + height, column : column + width]
    return out


@corruption((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
def glass_blur(images: Tensor, constants: tuple[float, int, int], draws: Draws) -> Tensor:
    """Blur, then copy to each pixel, from bottom right to top left, the value of a random near pixel, then blur again.

    The text of the paper swaps the two pixels. Its published generator copies, and so does this function, because the
    images of that generator are in general use. Shifts are whole pixels in [−shift, shift). Constants: σ of the blur,
    `shift`, and the number of passes over the image.
    """
    sigma, shift, times = constants[0] * scale_of(images), max(1, round(constants[1] * scale_of(images))), constants[2]
    side = side_of(images)
    inner = side - 2 * shift
    shifts = draws.integers(-shift, shift, times, inner, inner, 2).cpu().numpy()
    count, positions = len(images), np.arange(side * side)
    # `source` (pixels × images) is the position that each pixel's value comes from; `takes` are positions in `source`.
    source = np.repeat(positions[:, None], count, axis=1)
    pixels = positions.reshape(side, side)[side - shift : shift : -1, side - shift : shift : -1].ravel()
    for turn in range(times):
        moved = shifts[:, turn, ::-1, ::-1].reshape(count, -1, 2).transpose(1, 0, 2)
        takes = (pixels[:, None] + moved[:, :, 1] * side + moved[:, :, 0]) * count + np.arange(count)
        for pixel, take in zip(pixels.tolist(), takes, strict=True):
            source[pixel] = source.take(take)
    flat = blur(images, sigma).clamp(0, 1).flatten(2)
    taken = torch.from_numpy(source.T[:, None].copy()).to(images.device).expand_as(flat)
    return blur(flat.gather(2, taken).view_as(images), sigma)


@corruption((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
def motion_blur(images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """Blur along a line, at a random angle of at most 45° from the horizontal. Constants: radius and σ.

    The weights along the line are those of one half of a Gaussian.
    """
    radius, sigma = (constant * scale_of(images) for constant in constants)
    return along_lines(images, draws.uniform(-45, 45), motion_weights(radius, sigma))


@corruption(7, 12, 16, 21, 26)
def zoom_blur(images: Tensor, steps: int, draws: Draws) -> Tensor:
    """The mean of the image and of `steps` enlargements of it, by the factors 1.00, 1.01, 1.02 and so on."""
    sizes = [zoom_sizes(side_of(images), 1 + step / 100) for step in range(steps)]
    return (images + sum_of_zooms(images, sizes)) / (steps + 1)


@corruption(0.4, 0.6, 0.7, 0.8, 1.0)
def gaussian_blur(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Blur with a Gaussian of standard deviation `sigma`."""
    return blur(images, sigma * scale_of(images))
