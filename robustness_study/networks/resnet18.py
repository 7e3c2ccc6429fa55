"""ResNet-18 of torchvision (He et al. 2015, arXiv 1512.03385), not pretrained, without its last layer.

Its stem decides how much of a small image is left for the first block:

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

from robustness_study.networks._convolution import Convolution3x3


def resnet18(stem: str) -> nn.Module:
    """The ResNet-18 of torchvision without its last layer, N×3×H×W → N×512, with the stem named."""
    # Importing torchvision takes as long as importing torch: only where a network is built.
    from torchvision.models.resnet import BasicBlock
    from torchvision.models.resnet import resnet18 as torchvision_resnet18

    network = torchvision_resnet18(weights=None)
    network.fc = nn.Identity()
    for block in network.modules():
        if isinstance(block, BasicBlock):
            block.conv1, block.conv2 = Convolution3x3.of(block.conv1), Convolution3x3.of(block.conv2)
    if stem == "imagenet":
        return network
    stride = {"half": 2, "cifar": 1}[stem]
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


@torch.no_grad()
def start_as_identity(network: nn.Module) -> None:
    """Set the last norm's weights of every block to zero, so that the block adds nothing until it has learnt to.

    Goyal et al. 2017 (arXiv 1706.02677), section 5.1.
    """
    for name, module in network.named_modules():
        if name.endswith(".bn2"):
            module.weight.zero_()
