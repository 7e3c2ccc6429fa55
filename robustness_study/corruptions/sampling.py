"""Blurs, zooms and shrinks images with matrices for rows and columns, and samples images along lines.

A separable filter, including its treatment of borders, is one matrix for the rows and one for the columns. Lengths are
in pixels. The rounding errors of a matrix product depend on the number of images. Products are in float64, so that
these errors are too small to change the bytes of an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

PLANES_PIXELS = 60 * 32 * 32  # pixels in float64 at a time, so that they fit into the cache of the processor


def side_of(images: Tensor) -> int:
    """The width in pixels of square images."""
    return images.shape[-1]


def scale_of(images: Tensor) -> float:
    """The width of the images divided by 32 pixels. The published constants are for CIFAR-10, with width 32."""
    return side_of(images) / 32


def planes_at_a_time(planes: Tensor) -> int:
    """How many of the planes N×H×H to work on at a time: few on a CPU, all on other devices. At least 1."""
    return max(1, PLANES_PIXELS // side_of(planes) ** 2 if planes.device.type == "cpu" else len(planes))


def apply(matrix: np.ndarray, images: Tensor) -> Tensor:
    """Apply a matrix, float64 M×H, to the rows and the columns of images …×H×H. Returns float32 …×M×M.

    On a CPU numpy multiplies: its products of so many small matrices take half as long as torch's.
    """
    planes = images.reshape(-1, *images.shape[-2:])
    out = torch.empty((len(planes), len(matrix), len(matrix)), device=images.device)
    if images.device.type == "cpu":
        few = planes_at_a_time(planes)
        for part, into in zip(planes.split(few), out.split(few), strict=True):
            into.copy_(torch.from_numpy(matrix @ (part.double().numpy() @ matrix.T)))
    else:
        square = torch.from_numpy(matrix).to(images.device)
        out.copy_(square @ (planes.double() @ square.T))
    return out.view(*images.shape[:-2], *out.shape[-2:])


def gaussian_weights(sigma: float, truncate: float) -> np.ndarray:
    """The weights of a Gaussian at whole pixels up to `truncate`·σ from its centre. They sum to 1."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2) if sigma > 0 else np.ones(1)
    return weights / weights.sum()


@lru_cache(maxsize=64)
def gaussian(side: int, sigma: float, truncate: float = 4.0, border: str = "edge") -> np.ndarray:
    """The matrix, side×side, that blurs with a Gaussian. `border` is a mode of numpy's `pad`: edge or symmetric."""
    weights = gaussian_weights(sigma, truncate)
    radius = len(weights) // 2
    # A pixel that the filter takes from outside the border is replaced by a pixel inside; `source` says which one.
    source = np.pad(np.arange(side), radius, mode=border)  # type: ignore[call-overload]  # the mode is a string here
    matrix = np.zeros((side, side))
    for tap, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(side), source[tap : tap + side]), weight)
    return matrix


def blur(images: Tensor, sigma: float, truncate: float = 4.0, border: str = "edge") -> Tensor:
    """Images …×H×H, blurred with a Gaussian with a standard deviation of `sigma` pixels."""
    return apply(gaussian(side_of(images), sigma, truncate, border), images)


def zoom_sizes(side: int, factor: float) -> tuple[int, int]:
    """To zoom in by `factor`: the number of pixels in the middle to enlarge, and their number after that."""
    middle = math.ceil(side / factor)
    return middle, round(middle * factor)


@lru_cache(maxsize=64)
def zoom(side: int, middle: int, large: int) -> np.ndarray:
    """The matrix, side×side, that enlarges the `middle` central pixels to `large` pixels and crops to `side`.

    The interpolation is linear, and the first and last pixels stay at the ends.
    """
    first = (side - middle) // 2
    matrix = np.zeros((side, side))
    for row in range(side):
        at = (row + (large - side) // 2) * (middle - 1) / (large - 1)
        low = min(int(at), middle - 2)
        matrix[row, first + low] += 1 - (at - low)
        matrix[row, first + low + 1] += at - low
    return matrix


def sum_of_zooms(images: Tensor, sizes: Iterable[tuple[int, int]]) -> Tensor:
    """The sum, float32, of enlargements of images …×H×H: one for each pair in `sizes`, the arguments of `zoom`.

    Pairs that are equal and follow each other are enlarged once, and added as often as needed. A row of the matrix of
    `zoom` has at most two numbers that are not zero, so the products are sparse. The planes are the last axis, so that
    each of these numbers stands for one operation on a long row of values.
    """
    side = side_of(images)
    steps = [(torch.from_numpy(zoom(side, *pair)), len(list(equal))) for pair, equal in groupby(sizes)]
    sparse = [(matrix.to(images.device).to_sparse(), times) for matrix, times in steps]
    planes = images.reshape(-1, side, side)
    out = torch.empty_like(planes)
    few = planes_at_a_time(planes)
    for part, into in zip(planes.split(few), out.split(few), strict=True):
        pixels = part.flatten(1).T.contiguous().double().view(side, -1)  # the rows of pixels × (columns · planes)
        total = torch.zeros_like(pixels, dtype=torch.float32)  # columns × (rows · planes)
        for matrix, times in sparse:
            taller = (matrix @ pixels).view(side, side, -1)
            large = (matrix @ taller.transpose(0, 1).reshape(side, -1)).float()
            for _ in range(times):
                total += large
        into.copy_(total.view(side, side, -1).permute(2, 1, 0))
    return out.view_as(images)


@lru_cache(maxsize=64)
def box(side: int, new: int) -> np.ndarray:
    """The matrix, new×side, of a box filter: each new pixel is the mean of the pixels with their centres in it."""
    ratio = side / new
    half = 0.5 * max(ratio, 1.0)
    centres = np.arange(side) + 0.5
    matrix = np.zeros((new, side))
    for row in range(new):
        offset = centres - (row + 0.5) * ratio
        matrix[row] = (offset > -half) & (offset <= half)
    return matrix / matrix.sum(1, keepdims=True)


def motion_weights(radius: float, sigma: float) -> np.ndarray:
    """The weights of one half of a Gaussian, from its peak, at 2⌈radius⌉ + 1 pixels. Leaves out weights near zero."""
    weights = np.exp(-0.5 * (np.arange(2 * math.ceil(radius) + 1) / sigma) ** 2)
    weights /= weights.sum()
    return weights[weights > 1e-6]


def along_lines(images: Tensor, angles_degrees: Tensor, weights: np.ndarray) -> Tensor:
    """Motion blur of images N×C×H×H: each pixel becomes the weighted sum of the pixels on a line that starts there.

    `angles_degrees` (N,) are the directions of the lines. Weight i is for the pixel nearest to the point at distance i
    on the line. Outside the image, the nearest border pixel is used.
    """
    radians = torch.deg2rad(angles_degrees.double())
    taps = torch.arange(len(weights), device=images.device)[:, None]
    border = len(weights) - 1  # the longest shift
    down = torch.ceil(taps * radians.sin() - 0.5).long() + border
    right = torch.ceil(taps * radians.cos() - 0.5).long() + border
    height, width = images.shape[2:]
    # A view, N×C×shifts down×shifts right×H×H: all windows that a shift can show.
    windows = pad(images, (border,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    at, out = torch.arange(len(images), device=images.device), torch.zeros_like(images)
    for weight, rows, columns in zip(weights.tolist(), down, right, strict=True):
        out += picked(windows, at, rows, columns).mul_(weight)
    return out


def picked(windows: Tensor, at: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A copy of windows[at, :, rows, columns]. On a CPU numpy makes it, in a third of torch's time."""
    if windows.device.type == "cpu":
        return torch.from_numpy(windows.numpy()[at.numpy(), :, rows.numpy(), columns.numpy()])
    return windows[at, :, rows, columns]
