"""Training augmentation in batches, on whatever device the images are on.

In and out: float32 images in [0, 1], N×3×H×W. The draws for a whole epoch are made at once and
belong to the image, so they do not depend on the batch that it falls into.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from stages.lib.seeds import derive_seed


@dataclass(frozen=True)
class CropAndFlip:
    """Reflect-pad by `padding` pixels, cut back to size anywhere, mirror with probability one half."""

    padding: int
    offsets: Tensor  # (images, 2), in [0, 2·padding]
    flips: Tensor  # (images,), bool

    @classmethod
    def draw(cls, images: int, padding: int, flip: bool, seed: int, epoch: int, device: torch.device) -> CropAndFlip:
        """One epoch's draws for that many images."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "augmentation", epoch))
        offsets = torch.randint(0, 2 * padding + 1, (images, 2), generator=rng)
        flips = (torch.rand(images, generator=rng) < 0.5) & flip
        return cls(padding, offsets.to(device), flips.to(device))

    def __call__(self, images: Tensor, positions: Tensor) -> Tensor:
        """The augmented images; `positions` (N,) are theirs among the epoch's images."""
        count, _, height, width = images.shape
        padded = pad(images, [self.padding] * 4, mode="reflect")
        rows = self.offsets[positions, 0, None] + torch.arange(height, device=images.device)  # (N, H)
        columns = self.offsets[positions, 1, None] + torch.arange(width, device=images.device)  # (N, W)
        columns = torch.where(self.flips[positions, None], columns.flip(1), columns)
        each = torch.arange(count, device=images.device)
        # The indices stand on both sides of the slice, so the result is (N, H, W, 3): channels last.
        cut = padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return cut.permute(0, 3, 1, 2)
