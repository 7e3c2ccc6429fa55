"""Linear maps of rows and columns, as matrices: blurring, zooming, shrinking; and sampling along lines.

A filter that is separable, borders included, is one matrix for the rows and one for the columns. Lengths are in
pixels. How a product of matrices adds up depends on how many images there are; so that an image's bytes do not,
products are in float64, whose rounding errors the bytes do not see.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def side_of(images: Tensor) -> int:
    """The side of square images."""
    return images.shape[-1]


def scale_of(images: Tensor) -> float:
    """How many times wider than CIFAR-10's 32 pixels, which the published constants are for, images are."""
    return side_of(images) / 32


def apply(matrix: np.ndarray, images: Tensor) -> Tensor:
    """The matrix (M×H, float64), along rows and along columns, of images …×H×H → …×M×M."""
    square = torch.from_numpy(matrix).to(images.device)
    return (square @ (images.double() @ square.T)).float()


def gaussian_weights(sigma: float, truncate: float) -> np.ndarray:
    """A Gaussian's weights at whole pixels up to `truncate`·σ, which sum to one."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2) if sigma > 0 else np.ones(1)
    return weights / weights.sum()


@lru_cache(maxsize=64)
def gaussian(side: int, sigma: float, truncate: float = 4.0, border: str = "edge") -> np.ndarray:
    """The matrix that blurs with a Gaussian; `border` is numpy's name: edge or symmetric."""
    weights = gaussian_weights(sigma, truncate)
    radius = len(weights) // 2
    # Each row of the identity, blurred: what a pixel at the border sees beyond is a pixel within.
    source = np.pad(np.arange(side), radius, mode=border)  # type: ignore[call-overload]  # the mode is a string here
    matrix = np.zeros((side, side))
    for tap, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(side), source[tap : tap + side]), weight)
    return matrix


def blur(images: Tensor, sigma: float, truncate: float = 4.0, border: str = "edge") -> Tensor:
    """Images …×H×H blurred with a Gaussian of `sigma` pixels."""
    return apply(gaussian(side_of(images), sigma, truncate, border), images)


def zoom_sizes(side: int, factor: float) -> tuple[int, int]:
    """How many pixels of the middle are enlarged, and to how many, to zoom in by `factor`."""
    middle = math.ceil(side / factor)
    return middle, round(middle * factor)


@lru_cache(maxsize=64)
def zoom(side: int, middle: int, large: int) -> np.ndarray:
    """The matrix that enlarges the `middle` pixels to `large`, linearly, ends on ends, and cuts to `side`."""
    first = (side - middle) // 2
    matrix = np.zeros((side, side))
    for row in range(side):
        at = (row + (large - side) // 2) * (middle - 1) / (large - 1)
        low = min(int(at), middle - 2)
        matrix[row, first + low] += 1 - (at - low)
        matrix[row, first + low + 1] += at - low
    return matrix


@lru_cache(maxsize=64)
def box(side: int, new: int) -> np.ndarray:
    """The matrix, new×side, of a box filter: the mean of all pixels whose centres are in the new pixel."""
    ratio = side / new
    half = 0.5 * max(ratio, 1.0)
    centres = np.arange(side) + 0.5
    matrix = np.zeros((new, side))
    for row in range(new):
        offset = centres - (row + 0.5) * ratio
        matrix[row] = (offset > -half) & (offset <= half)
    return matrix / matrix.sum(1, keepdims=True)


def motion_weights(radius: float, sigma: float) -> np.ndarray:
    """One half of a Gaussian, from its peak on, over 2⌈radius⌉ + 1 pixels; what weighs nothing is left out."""
    weights = np.exp(-0.5 * (np.arange(2 * math.ceil(radius) + 1) / sigma) ** 2)
    weights /= weights.sum()
    return weights[weights > 1e-6]


def along_lines(images: Tensor, angles_degrees: Tensor, weights: np.ndarray) -> Tensor:
    """Each pixel becomes the weighted sum of those on a line that begins at it: the motion blur of N×C×H×H images.

    Tap i of an image's line is the pixel next to i pixels along its angle (N); beyond the border, the nearest one.
    """
    count, channels, height, width = images.shape
    device = images.device
    radians = torch.deg2rad(angles_degrees.double())
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    first = torch.arange(count, device=device).view(-1, 1, 1) * (height * width)
    out = torch.zeros_like(pixels)
    for tap, weight in enumerate(weights.tolist()):
        down = torch.ceil(tap * radians.sin() - 0.5).long()
        right = torch.ceil(tap * radians.cos() - 0.5).long()
        row = (rows + down[:, None]).clamp(0, height - 1)
        column = (columns + right[:, None]).clamp(0, width - 1)
        source = first + row[:, :, None] * width + column[:, None, :]
        out += weight * pixels[source.reshape(-1)]
    return out.view(count, height, width, channels).permute(0, 3, 1, 2)
