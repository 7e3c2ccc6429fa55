"""Linear maps of rows and columns, as matrices: blurring, zooming, shrinking; and sampling along lines.

A filter that is separable, borders included, is one matrix for the rows and one for the columns. Lengths are in
pixels. How a product of matrices adds up depends on how many images there are; so that an image's bytes do not,
products are in float64, whose rounding errors the bytes do not see.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

PLANES_PIXELS = 60 * 32 * 32  # in float64 at a time, so that they stay in a processor's cache


def side_of(images: Tensor) -> int:
    """The side of square images."""
    return images.shape[-1]


def scale_of(images: Tensor) -> float:
    """How many times wider than CIFAR-10's 32 pixels, which the published constants are for, images are."""
    return side_of(images) / 32


def apply(matrix: np.ndarray, images: Tensor) -> Tensor:
    """The matrix (M×H, float64), along rows and along columns, of images …×H×H → …×M×M, float32."""
    square = torch.from_numpy(matrix).to(images.device)
    planes = images.reshape(-1, *images.shape[-2:])
    out = torch.empty((len(planes), len(square), len(square)), device=images.device)
    few = max(1, PLANES_PIXELS // square.shape[1] ** 2) if images.device.type == "cpu" else max(1, len(planes))
    for part, into in zip(planes.split(few), out.split(few), strict=True):
        into.copy_(square @ (part.double() @ square.T))
    return out.view(*images.shape[:-2], len(square), len(square))


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
    radians = torch.deg2rad(angles_degrees.double())
    order = radians.argsort()  # images of nearly the same angle have the same taps, and are moved together
    taps = torch.arange(len(weights), device=images.device)[:, None]
    down = torch.ceil(taps * radians[order].sin() - 0.5).long().tolist()
    right = torch.ceil(taps * radians[order].cos() - 0.5).long().tolist()
    height, width = images.shape[2:]
    border = len(weights) - 1  # no tap is farther away
    framed = pad(images[order], (border,) * 4, mode="replicate")
    out = torch.zeros_like(images)
    for weight, rows, columns in zip(weights.tolist(), down, right, strict=True):
        start = 0
        for (row, column), alike in groupby(zip(rows, columns, strict=True)):
            end = start + len(list(alike))
            top, left = border + row, border + column
            out[start:end] += weight * framed[start:end, :, top : top + height, left : left + width]
            start = end
    return out[order.argsort()]
