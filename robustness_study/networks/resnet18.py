"""ResNet-18 from torchvision (He et al. 2015, arXiv 1512.03385), not pretrained, without its last layer.

The stem (the first layers) decides how many pixels of a small image reach the first block:

========  =====================================  ===================================
stem      first layers                           size of a 32×32 image in block one
========  =====================================  ===================================
imagenet  7×7 stride 2, 3×3 max-pooling stride 2  8×8 (torchvision as it ships)
half      3×3 stride 2                           16×16
cifar     3×3 stride 1                           32×32 (He et al. 2015, section 4.2)
========  =====================================  ===================================
"""

from __future__ import annotations

import torch
from torch import nn

from robustness_study.networks import Network
from robustness_study.networks._convolution import Convolution3x3
from robustness_study.networks._torchvision import residual_networks


def make(network: Network) -> nn.Module:
    """A new network with the stem `network.stem`: float32 N×3×H×W → N×D."""
    library = residual_networks()  # imported only when a network is built
    backbone = library.resnet18(weights=None)
    backbone.fc = nn.Identity()
    for block in backbone.modules():
        if isinstance(block, library.BasicBlock):
            block.conv1, block.conv2 = Convolution3x3.of(block.conv1), Convolution3x3.of(block.conv2)
    if network.stem == "imagenet":
        return backbone
    stride = {"half": 2, "cifar": 1}[network.stem]
    backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    backbone.maxpool = nn.Identity()
    return backbone


@torch.no_grad()
def start_as_identity(backbone: nn.Module) -> None:
    """Set the weights of every block's last batch norm to zero, so that the block adds nothing at first.

    Goyal et al. 2017 (arXiv 1706.02677), section 5.1.
    """
    for name, module in backbone.named_modules():
        if name.endswith(".bn2"):
            module.weight.zero_()
