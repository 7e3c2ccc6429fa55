"""Wide ResNet WRN-16-4 (Zagoruyko & Komodakis 2016, arXiv 1605.07146), not pretrained, without its last layer.

It has 16 layers and is 4 times as wide as the ResNet for CIFAR-10 of He et al. 2015. Batch norm and ReLU come before
each convolution ("pre-activation", He et al. 2016, arXiv 1603.05027). There is no dropout. A 3×3 convolution of stride
1 comes first. Three groups of two blocks follow, with 64, 128 and 256 channels. There, a 32×32 image has 32×32, 16×16
and 8×8 pixels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from robustness_study.networks import Network
from robustness_study.networks._convolution import Convolution3x3

WIDEN_FACTOR = 4
BLOCKS_PER_GROUP = 2  # (16 layers − 4) / 6


def convolution(inputs: int, outputs: int, stride: int) -> Convolution3x3:
    """A 3×3 convolution with padding 1 and no bias."""
    return Convolution3x3(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


class Block(nn.Module):
    """A residual block: batch norm, ReLU and 3×3 convolution, twice; then the shortcut is added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), convolution(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), convolution(outputs, outputs, 1)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """N×C×H×W → N×D×H'×W'."""
        active = relu(self.bn1(inputs))
        # If the number of channels changes, the shortcut is a 1×1 convolution of the activated input.
        shortcut = inputs if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(relu(self.bn2(self.conv1(active))))


class WideResNet(nn.Module):
    """The network: float32 images N×3×H×W → features N×256."""

    def __init__(self) -> None:
        super().__init__()
        channels = [16, *(WIDEN_FACTOR * base for base in (16, 32, 64))]
        self.conv = convolution(3, channels[0], 1)
        self.blocks = nn.Sequential()
        for group, (inputs, outputs) in enumerate(pairwise(channels)):
            self.blocks.append(Block(inputs, outputs, stride=1 if group == 0 else 2))
            self.blocks.extend(Block(outputs, outputs, stride=1) for _ in range(BLOCKS_PER_GROUP - 1))
        self.norm = nn.BatchNorm2d(channels[-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features, N×256: the mean over all pixels of the last activated feature map."""
        return relu(self.norm(self.blocks(self.conv(images)))).mean((2, 3))


def make(network: Network) -> nn.Module:
    """A new WRN-16-4: float32 N×3×H×W → N×256."""
    return WideResNet()


@torch.no_grad()
def start_as_identity(backbone: nn.Module) -> None:
    """Set the weights of every block's last convolution to zero, so that the block adds nothing at first.

    The weights of the last batch norm must not be zero here. ReLU follows it, so the last convolution would get only
    zeros and no gradient, and the block would never learn.
    """
    for block in backbone.modules():
        if isinstance(block, Block):
            block.conv2.weight.zero_()
