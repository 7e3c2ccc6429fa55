"""TrivialAugment's wide space in batches, on whatever device the images are on.

One operation for each image, drawn with its strength (Müller & Hutter 2021, arXiv 2103.10158). Operations
and strengths are those of torchvision's `TrivialAugmentWide`, but grey fills what comes from outside.

An operation takes images, float32 in [0, 1], N×3×H×W, and their strengths, float32 N×1×1×1, and
returns images in [0, 1]. An image's result is the same bits in any batch. So nothing here sums floats
over an image, convolves or multiplies matrices: how those add up depends on how many images there are.
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
    """One epoch's draws, on the CPU: how many images an operation has is known without waiting for a GPU."""

    operations: Tensor  # (images,), int64: places in OPERATIONS
    strengths: Tensor  # (images,), float32

    @classmethod
    def draw(cls, images: int, seed: int, epoch: int) -> TrivialAugment:
        """The draws of an epoch, counted from 1, for that many images: operation, level and sign, each uniform."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "trivial augment", epoch))
        operations = torch.randint(len(OPERATIONS), (images,), generator=rng)
        levels = torch.randint(LEVELS, (images,), generator=rng)
        negative = torch.rand(images, generator=rng) < 0.5
        strengths = torch.stack([strengths_of(name) for name in OPERATIONS])[operations, levels]
        signed = torch.tensor([name in LARGEST for name in OPERATIONS])[operations]
        return cls(operations, torch.where(negative & signed, -strengths, strengths))

    def __call__(self, images: Tensor, positions: Tensor | np.ndarray) -> Tensor:
        """The augmented images, laid out as given; `positions` (N,), on the CPU, are theirs among the epoch's."""
        places = torch.as_tensor(positions)
        order = self.operations[places].argsort(stable=True)
        counts = self.operations[places].bincount(minlength=len(OPERATIONS)).tolist()
        there, back = (moved.to(images.device, non_blocking=True) for moved in (order, order.argsort()))
        strengths = self.strengths[places[order]].view(-1, 1, 1, 1).to(images.device, non_blocking=True)
        groups = zip(OPERATIONS.values(), images[there].split(counts), strengths.split(counts), strict=True)
        changed = torch.cat([operation(group, strength) for operation, group, strength in groups if len(group)])
        return torch.empty_like(images).copy_(changed[back])


def strengths_of(name: str) -> Tensor:
    """An operation's strengths by level, without sign: float32 (LEVELS,); zeros if it has none."""
    if name == "posterize":
        return (8 - torch.arange(LEVELS) / 5).round()
    if name == "solarize":
        return torch.linspace(1, 0, LEVELS)
    strengths = torch.linspace(0, LARGEST.get(name, 0), LEVELS)
    return strengths.trunc() if name.startswith("translate") else strengths  # whole pixels


def _grey(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma, N×1×H×W."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def _away(images: Tensor, others: Tensor | float, strengths: Tensor) -> Tensor:
    """Away from the others by that share of the difference; towards them if negative, exactly as they are at 0."""
    return (images + strengths * (images - others)).clamp(0, 1)


def _fetch(images: Tensor, xs: tuple[Tensor | float, ...], ys: tuple[Tensor | float, ...]) -> Tensor:
    """To each place (x, y), in pixels from the centre, what is at (a·x + b·y + c, d·x + e·y + f); bilinear."""
    count, _, height, width = images.shape
    y = (torch.arange(height, dtype=images.dtype, device=images.device) - (height - 1) / 2).view(1, 1, -1, 1)
    x = (torch.arange(width, dtype=images.dtype, device=images.device) - (width - 1) / 2).view(1, 1, 1, -1)
    sources = [(xs[0] * x + xs[1] * y + xs[2]) * (2 / width), (ys[0] * x + ys[1] * y + ys[2]) * (2 / height)]
    grid = torch.stack([source[:, 0].expand(count, height, width) for source in sources], 3)
    # Outside is zero for `grid_sample`: grey is made zero, so that the borders blend into grey as well.
    return (grid_sample(images - 0.5, grid, "bilinear", "zeros", align_corners=False) + 0.5).clamp(0, 1)


def identity(images: Tensor, strengths: Tensor) -> Tensor:
    """The images as they are."""
    return images


def shear_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Move rows left by strengths times their distance from the top edge."""
    return _fetch(images, (1, strengths, strengths * (images.shape[2] / 2)), (0, 1, 0))


def shear_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Move columns up by strengths times their distance from the left edge."""
    return _fetch(images, (1, 0, 0), (strengths, 1, strengths * (images.shape[3] / 2)))


def translate_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Move right by so many pixels, however wide the image is."""
    return _fetch(images, (1, 0, -strengths), (0, 1, 0))


def translate_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Move down by so many pixels, however high the image is."""
    return _fetch(images, (1, 0, 0), (0, 1, -strengths))


def rotate(images: Tensor, strengths: Tensor) -> Tensor:
    """Turn counter-clockwise about the centre by degrees."""
    # A sine's last bit may depend on how many are taken at once: in double precision it is rounded away.
    angles = strengths.double().deg2rad()
    cosines, sines = angles.cos().float(), angles.sin().float()
    return _fetch(images, (cosines, -sines, 0), (sines, cosines, 0))


def brightness(images: Tensor, strengths: Tensor) -> Tensor:
    """Away from black by strengths in (−1, 1)."""
    return _away(images, 0, strengths)


def color(images: Tensor, strengths: Tensor) -> Tensor:
    """Away from each pixel's grey by strengths in (−1, 1)."""
    return _away(images, _grey(images), strengths)


def contrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Away from the image's mean grey by strengths in (−1, 1)."""
    # Whole numbers have one sum in any order.
    total = (_grey(images) * 2**24).round().long().sum((2, 3), keepdim=True)
    return _away(images, (total.double() / (2**24 * images[0, 0].numel())).float(), strengths)


def sharpness(images: Tensor, strengths: Tensor) -> Tensor:
    """Away from a 3×3 blur that gives the middle 5 parts of 13, by strengths in (−1, 1); the border stays."""
    middle, result = images[:, :, 1:-1, 1:-1], images.clone()
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    blurred = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * middle) / 13
    result[:, :, 1:-1, 1:-1] = _away(middle, blurred, strengths)
    return result


def posterize(images: Tensor, strengths: Tensor) -> Tensor:
    """Keep so many (1 to 8) of a byte's upper bits."""
    dropped = (8 - strengths).to(torch.uint8)
    return ((_bytes(images) >> dropped) << dropped).float() / 255


def solarize(images: Tensor, strengths: Tensor) -> Tensor:
    """Invert the values that are not below a threshold in [0, 1]."""
    return torch.where(images >= strengths, 1 - images, images)


def autocontrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Stretch each channel to [0, 1], unless it has one value only; no strengths."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1, high - low))


def equalize(images: Tensor, strengths: Tensor) -> Tensor:
    """Level each channel's histogram of bytes, as PIL: does nothing below 256 pixels; no strengths."""
    # Importing torchvision takes as long as importing torch: only where an image is equalised.
    from torchvision.transforms.v2 import functional

    return functional.equalize(_bytes(images)).float() / 255


# Where an operation stands in OPERATIONS is what a draw means: new ones go to the end.
GEOMETRIC = (shear_x, shear_y, translate_x, translate_y, rotate)
PHOTOMETRIC = (brightness, color, contrast, sharpness, posterize, solarize, autocontrast, equalize)
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    function.__name__: function for function in (identity, *GEOMETRIC, *PHOTOMETRIC)
}
# The largest strength of each operation that has a sign.
LARGEST = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 32.0, "translate_y": 32.0, "rotate": 135.0}
LARGEST |= dict.fromkeys(("brightness", "color", "contrast", "sharpness"), 0.99)
