"""How drops of water refract light, as in the corruption spatter of CIFAR-10-C.

Images are N×1×H×W, with whole values from 0 to 255 as float32. The reference code runs an edge detector (Canny 1986),
a distance to the edges, a histogram equalisation and an emboss filter. Here each of these works on a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

FARTHEST = 20  # pixels; larger distances count as this


def neighbours(images: Tensor, mode: str) -> Callable[[int, int], Tensor]:
    """A function of (down, right), each −1, 0 or 1, that gives the neighbour of every pixel in that direction.

    `mode` is the padding mode of torch's `pad` at the border.
    """
    framed = pad(images, (1, 1, 1, 1), mode=mode)
    height, width = images.shape[2:]
    return lambda down, right: framed[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives along x and along y, by the Sobel filter."""
    at = neighbours(images, "replicate")
    falling, rising = at(1, 1) - at(-1, -1), at(-1, 1) - at(1, -1)
    return falling + rising + 2 * (at(0, 1) - at(0, -1)), falling - rising + 2 * (at(1, 0) - at(-1, 0))


def around(marked: Tensor) -> Tensor:
    """A bool mask that is true where a pixel or one of its eight neighbours is marked."""
    at = neighbours(marked.byte(), "constant")
    rows = neighbours(at(0, -1) | at(0, 0) | at(0, 1), "constant")
    return (rows(-1, 0) | rows(0, 0) | rows(1, 0)).bool()


def edges(images: Tensor, weak: float, strong: float) -> Tensor:
    """A bool mask of the edges that Canny's detector finds.

    An edge is a ridge of the gradient above `weak` that is connected to a ridge above `strong`.
    """
    along_x, along_y = sobel(images)
    size = along_x.abs() + along_y.abs()
    at = neighbours(size, "constant")

    def ridge(down: int, right: int) -> Tensor:
        return (size > at(-down, -right)) & (size >= at(down, right))

    slope = torch.tan(torch.deg2rad(torch.tensor(22.5))).item()
    flat, steep = along_y.abs() < slope * along_x.abs(), along_y.abs() > along_x.abs() / slope
    falling = along_x * along_y >= 0
    on_ridge = torch.where(
        flat, ridge(0, 1), torch.where(steep, ridge(1, 0), torch.where(falling, ridge(1, 1), ridge(1, -1)))
    )
    candidates = on_ridge & (size > weak)
    found = candidates & (size > strong)
    while True:
        grown = candidates & around(found)
        if torch.equal(grown, found):
            return found
        found = grown


def distance(marked: Tensor) -> Tensor:
    """The distance of each pixel to the nearest marked pixel, in pixels, at most `FARTHEST`."""
    far = FARTHEST**2
    squares = torch.where(marked, 0, far).short()  # 16 bits are enough, because no value is more than twice `far`
    for axis in (2, 3):
        nearest = squares.clone()
        size = squares.shape[axis]
        for step in range(1, min(FARTHEST, size)):
            ahead, behind = squares.narrow(axis, step, size - step), squares.narrow(axis, 0, size - step)
            near, beyond = nearest.narrow(axis, 0, size - step), nearest.narrow(axis, step, size - step)
            torch.minimum(near, ahead + step**2, out=near)
            torch.minimum(beyond, behind + step**2, out=beyond)
        squares = nearest
    return squares.clamp(max=far).float().sqrt()


def mean_of_nine(images: Tensor) -> Tensor:
    """The mean over 3×3 pixels. The sum has a fixed order for every image, because the result is rounded down later."""
    at = neighbours(images, "reflect")
    total = torch.zeros_like(images)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            total += at(row, column)
    return total / 9


def equalised(images: Tensor) -> Tensor:
    """Images with an equalised (flat) histogram from 0 to 255. An image with only one level stays unchanged."""
    levels = images.long().flatten(1)
    counts = torch.zeros((len(images), 256), device=images.device).scatter_add_(
        1, levels, torch.ones(levels.shape).to(images)
    )
    lowest = counts.gather(1, levels.amin(1, keepdim=True))
    rest = levels.shape[1] - lowest
    table = ((counts.cumsum(1) - lowest) * 255 / rest.clamp(min=1)).round()
    return torch.where(rest > 0, table.gather(1, levels), levels.float()).view_as(images)


def refraction(layer: Tensor) -> Tensor:
    """The brightness of each pixel of a layer of water, 0 to 255: bright below and right of the edges of drops."""
    away = equalised(mean_of_nine(distance(edges(layer, 50, 150))).floor())
    at = neighbours(away, "reflect")
    lit = at(0, 0) + at(0, 1) - at(0, -1) + at(1, 0) - at(-1, 0) + 2 * (at(1, 1) - at(-1, -1))  # emboss filter
    return mean_of_nine(lit.clamp(0, 255)).round()
