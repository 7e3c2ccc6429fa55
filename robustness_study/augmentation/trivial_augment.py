"""TrivialAugment (wide space) in batches, on any device.

Each image gets one random operation with a random strength (Müller & Hutter 2021, arXiv 2103.10158). Operations and
strengths are those of torchvision's `TrivialAugmentWide`, except that areas from outside the image are filled with
grey.

An operation takes images, float32 in [0, 1], N×3×H×W, and their strengths, float32 N×1×1×1. It returns images in
[0, 1]. The result for an image has the same bits in any batch. So nothing here sums floats over an image, convolves or
multiplies matrices, because the rounding of such sums depends on the number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from robustness_study.core.seeds import derive_seed

LEVELS = 31


@dataclass(frozen=True)
class TrivialAugment:
    """The random choices of one epoch. They stay on the CPU, so that counting them does not have to wait for a GPU."""

    operations: Tensor  # (images,), int64: positions in OPERATIONS
    strengths: Tensor  # (images,), float32

    @classmethod
    def draw(cls, images: int, seed: int, epoch: int) -> TrivialAugment:
        """The choices of an epoch (the first is 1) for `images` images: operation, level and sign, each uniform."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "trivial augment", epoch))
        operations = torch.randint(len(OPERATIONS), (images,), generator=rng)
        levels = torch.randint(LEVELS, (images,), generator=rng)
        negative = torch.rand(images, generator=rng) < 0.5
        strengths = torch.stack([strengths_of(name) for name in OPERATIONS])[operations, levels]
        signed = torch.tensor([name in LARGEST for name in OPERATIONS])[operations]
        return cls(operations, torch.where(negative & signed, -strengths, strengths))

    def __call__(self, images: Tensor, positions: Tensor | np.ndarray) -> Tensor:
        """The augmented images, in the same memory layout.

        `positions` (N,), on the CPU, are the positions of the images among those of the epoch.
        """
        chosen = torch.as_tensor(positions)
        order = self.operations[chosen].argsort(stable=True)
        counts = self.operations[chosen].bincount(minlength=len(OPERATIONS)).tolist()
        there, back = (moved.to(images.device, non_blocking=True) for moved in (order, order.argsort()))
        strengths = self.strengths[chosen[order]].view(-1, 1, 1, 1).to(images.device, non_blocking=True)
        groups = zip(OPERATIONS.values(), images[there].split(counts), strengths.split(counts), strict=True)
        changed = torch.cat([operation(group, strength) for operation, group, strength in groups if len(group)])
        return torch.empty_like(images).copy_(changed[back])


def strengths_of(name: str) -> Tensor:
    """The strengths of an operation at each level, without sign: float32 (LEVELS,). Zeros if it has no strength."""
    if name == "posterize":
        return (8 - torch.arange(LEVELS) / 5).round()
    if name == "solarize":
        return torch.linspace(1, 0, LEVELS)
    strengths = torch.linspace(0, LARGEST.get(name, 0), LEVELS)
    return strengths.trunc() if name.startswith("translate") else strengths  # whole pixels


def _grey(images: Tensor) -> Tensor:
    """The grey value of each pixel (ITU-R BT.601 luma), N×1×H×W."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def _extrapolate(images: Tensor, others: Tensor | float, strengths: Tensor) -> Tensor:
    """Move `images` away from `others` by a share of their difference: towards them if negative, unchanged if 0."""
    return (images + strengths * (images - others)).clamp(0, 1)


def _resample(images: Tensor, xs: tuple[Tensor | float, ...], ys: tuple[Tensor | float, ...]) -> Tensor:
    """Give each pixel (x, y) the bilinear value of the image at (a·x + b·y + c, d·x + e·y + f).

    Positions are in pixels from the centre; `xs` is (a, b, c) and `ys` is (d, e, f).
    """
    count, _, height, width = images.shape
    y = (torch.arange(height, dtype=images.dtype, device=images.device) - (height - 1) / 2).view(1, 1, -1, 1)
    x = (torch.arange(width, dtype=images.dtype, device=images.device) - (width - 1) / 2).view(1, 1, 1, -1)
    sources = [(xs[0] * x + xs[1] * y + xs[2]) * (2 / width), (ys[0] * x + ys[1] * y + ys[2]) * (2 / height)]
    grid = torch.stack([source[:, 0].expand(count, height, width) for source in sources], 3)
    # `grid_sample` takes zeros outside the image. The shift by 0.5 makes grey zero, so borders blend into grey.
    return (grid_sample(images - 0.5, grid, "bilinear", "zeros", align_corners=False) + 0.5).clamp(0, 1)


def identity(images: Tensor, strengths: Tensor) -> Tensor:
    """The images, unchanged."""
    return images


def shear_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each row to the left by the strength times its distance from the top edge."""
    return _resample(images, (1, strengths, strengths * (images.shape[2] / 2)), (0, 1, 0))


def shear_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each column up by the strength times its distance from the left edge."""
    return _resample(images, (1, 0, 0), (strengths, 1, strengths * (images.shape[3] / 2)))


def translate_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Move the image to the right by the strength in pixels, for any image width."""
    return _resample(images, (1, 0, -strengths), (0, 1, 0))


def translate_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Move the image down by the strength in pixels, for any image height."""
    return _resample(images, (1, 0, 0), (0, 1, -strengths))


def rotate(images: Tensor, strengths: Tensor) -> Tensor:
    """Rotate counter-clockwise about the centre. The strength is in degrees."""
    # The last bit of a sine may depend on the batch size. Double precision, rounded to float32, removes that.
    angles = strengths.double().deg2rad()
    cosines, sines = angles.cos().float(), angles.sin().float()
    return _resample(images, (cosines, -sines, 0), (sines, cosines, 0))


def brightness(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each value away from black, by a strength in (−1, 1)."""
    return _extrapolate(images, 0, strengths)


def color(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each pixel away from its grey value, by a strength in (−1, 1)."""
    return _extrapolate(images, _grey(images), strengths)


def contrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each value away from the mean grey of the image, by a strength in (−1, 1)."""
    # A sum of whole numbers is the same in any order.
    total = (_grey(images) * 2**24).round().long().sum((2, 3), keepdim=True)
    return _extrapolate(images, (total.double() / (2**24 * images[0, 0].numel())).float(), strengths)


def sharpness(images: Tensor, strengths: Tensor) -> Tensor:
    """Move each value away from a 3×3 blur, by a strength in (−1, 1). Border pixels stay unchanged.

    In the blur, the middle pixel has weight 5/13 and each of its eight neighbours 1/13.
    """
    middle, result = images[:, :, 1:-1, 1:-1], images.clone()
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    blurred = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * middle) / 13
    result[:, :, 1:-1, 1:-1] = _extrapolate(middle, blurred, strengths)
    return result


def posterize(images: Tensor, strengths: Tensor) -> Tensor:
    """Keep only the upper bits of each byte; the strength is their number, 1 to 8."""
    dropped = (8 - strengths).to(torch.uint8)
    return ((_bytes(images) >> dropped) << dropped).float() / 255


def solarize(images: Tensor, strengths: Tensor) -> Tensor:
    """Invert all values that are at least the strength, which is a threshold in [0, 1]."""
    return torch.where(images >= strengths, 1 - images, images)


def autocontrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Stretch each channel to [0, 1], unless all its values are equal. Ignores the strengths."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1, high - low))


def equalize(images: Tensor, strengths: Tensor) -> Tensor:
    """Equalise the histogram of bytes of each channel, as PIL does. Ignores the strengths.

    Images with fewer than 256 pixels stay unchanged.
    """
    # Importing torchvision takes as long as importing torch, so it is imported only if it is needed.
    from torchvision.transforms.v2 import functional

    return functional.equalize(_bytes(images)).float() / 255


# The random numbers are positions in OPERATIONS, so new operations must go to the end.
GEOMETRIC = (shear_x, shear_y, translate_x, translate_y, rotate)
PHOTOMETRIC = (brightness, color, contrast, sharpness, posterize, solarize, autocontrast, equalize)
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    function.__name__: function for function in (identity, *GEOMETRIC, *PHOTOMETRIC)
}
# The largest strength of each operation that can have both signs.
LARGEST = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 32.0, "translate_y": 32.0, "rotate": 135.0}
LARGEST |= dict.fromkeys(("brightness", "color", "contrast", "sharpness"), 0.99)
