"""ResNet-18 (He et al. 2015, arXiv 1512.03385) with half of its channels: for judging an idea quickly.

The blocks are torchvision's. The first layer is that of resnet18's stem `half`: a 3×3 convolution of stride 2. Then the
four stages have 32, 64, 128 and 256 channels, so the features are 256 wide. It needs a quarter of the multiplications
of resnet18 with that stem.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from robustness_study.networks import Network
from robustness_study.networks._convolution import Convolution3x3
from robustness_study.networks._torchvision import residual_networks
from robustness_study.networks.resnet18 import start_as_identity

__all__ = ["make", "start_as_identity"]

CHANNELS = (32, 64, 128, 256)  # of the four stages
BLOCKS = 2  # in each stage


class NarrowResNet(nn.Module):
    """The network: float32 images N×3×H×W → features N×256."""

    def __init__(self) -> None:
        super().__init__()
        library = residual_networks()  # imported only when a network is built
        block_of = library.BasicBlock
        self.conv = nn.Conv2d(3, CHANNELS[0], kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS[0])
        self.blocks = nn.Sequential(*(block_of(CHANNELS[0], CHANNELS[0]) for _ in range(BLOCKS)))
        for inputs, outputs in pairwise(CHANNELS):
            shortcut = nn.Sequential(library.conv1x1(inputs, outputs, 2), nn.BatchNorm2d(outputs))
            self.blocks.append(block_of(inputs, outputs, 2, shortcut))
            self.blocks.extend(block_of(outputs, outputs) for _ in range(BLOCKS - 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self.modules():
            if isinstance(block, block_of):
                block.conv1, block.conv2 = Convolution3x3.of(block.conv1), Convolution3x3.of(block.conv2)

    def forward(self, images: Tensor) -> Tensor:
        """Features, N×256: the mean over all pixels of the last feature map."""
        return self.blocks(relu(self.norm(self.conv(images)))).mean((2, 3))


def make(network: Network) -> nn.Module:
    """A new network: float32 N×3×H×W → N×256."""
    return NarrowResNet()
