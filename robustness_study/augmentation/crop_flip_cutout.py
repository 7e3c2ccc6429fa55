"""Training augmentation in batches (random crop, flip, cutout), on any device.

Input and output are float32 images in [0, 1], N×3×H×W. The random numbers of a whole epoch are drawn at once, for each
image, so they do not depend on the batch of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustness_study.core.seeds import derive_seed


@dataclass(frozen=True)
class Augmentation:
    """The random numbers of one epoch: for a crop with reflected padding, a mirror image, and a cutout square.

    Alternating flip: the images to mirror are drawn once for odd epochs, and the other images are mirrored in even
    epochs. So every two epochs show each image both ways (Jordan 2024, arXiv 2404.00498). Cutout: a grey square with
    its centre anywhere in the image; parts of it may be outside (DeVries & Taylor 2017, arXiv 1708.04552).
    """

    padding: int
    offsets: Tensor  # (images, 2), in [0, 2·padding]
    flips: Tensor  # (images,), bool
    cutout: int  # width of the square in pixels; 0 is off
    centres: Tensor  # (images, 2), in [0, 1): rows and columns as shares of the image

    @classmethod
    def draw(
        cls, images: int, padding: int, flip: str, cutout: int, seed: int, epoch: int, device: torch.device
    ) -> Augmentation:
        """The random numbers of an epoch (the first is 1) for `images` images. `flip` is off, random or alternating."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "augmentation", epoch))
        offsets = torch.randint(0, 2 * padding + 1, (images, 2), generator=rng)
        centres = torch.rand(images, 2, generator=rng)
        if flip == "alternating":
            once = torch.Generator().manual_seed(derive_seed(seed, "alternating flip"))
            flips = (torch.rand(images, generator=once) < 0.5) ^ (epoch % 2 == 0)
        else:
            flips = (torch.rand(images, generator=rng) < 0.5) & (flip == "random")
        return cls(padding, offsets.to(device), flips.to(device), cutout, centres.to(device))

    def __call__(self, images: Tensor, positions: Tensor) -> Tensor:
        """The augmented images. `positions` (N,) are their positions among the images of the epoch."""
        return self.cut_out(self.crop_and_flip(images, positions), positions)

    def crop_and_flip(self, images: Tensor, positions: Tensor) -> Tensor:
        """The images, padded by reflection, cropped at random offsets, and mirrored where `flips` is true."""
        count, _, height, width = images.shape
        padded = pad(images, [self.padding] * 4, mode="reflect") if self.padding else images
        rows = self.offsets[positions, 0, None] + torch.arange(height, device=images.device)  # (N, H)
        columns = self.offsets[positions, 1, None] + torch.arange(width, device=images.device)  # (N, W)
        columns = torch.where(self.flips[positions, None], columns.flip(1), columns)
        each = torch.arange(count, device=images.device)
        # There are index arrays on both sides of the slice, so the result is (N, H, W, 3): channels last.
        cut = padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return cut.permute(0, 3, 1, 2)

    def cut_out(self, images: Tensor, positions: Tensor) -> Tensor:
        """The images with a grey square in each, `cutout` pixels wide. Returns the input if `cutout` is 0."""
        if self.cutout == 0:
            return images
        inside = []
        for axis, length in enumerate(images.shape[2:]):
            first = (self.centres[positions, axis, None] * length).floor() - self.cutout // 2
            at = torch.arange(length, device=images.device)
            inside.append((at >= first) & (at < first + self.cutout))  # (N, length)
        square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (N, 1, H, W)
        return images.masked_fill(square, 0.5)
