"""The model: ResNet-18 with its normalisation inside and a head that the loss chooses.

In: float32 images in [0, 1], N×3×H×W. Out: features N×512 or class logits N×classes.
Normalisation is the first layer, so an attack's epsilon is in pixel units (Croce et al. 2020,
arXiv 2010.09670). The network is torchvision's ``resnet18`` (He et al. 2015, arXiv 1512.03385), not
pretrained; its stem decides how much of a small image is left for the first block:

========  =====================================  ===================================
stem      first layers                           size of a 32×32 image in block one
========  =====================================  ===================================
imagenet  7×7 stride 2, 3×3 max-pooling stride 2  8×8 (torchvision as it ships)
half      3×3 stride 2                           16×16
cifar     3×3 stride 1                           32×32 (He et al. 2015, section 4.2)
========  =====================================  ===================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.lib.convolution import Convolution3x3

FEATURES = 512


class Head(nn.Module):
    """What a loss puts on the backbone: a training loss and differentiable class logits.

    Subclasses implement `forward` and `training_loss`; one that classifies by something other than
    trained weights (centroids, say) also implements `fit`.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Class logits, float32 N×classes, of features N×512; differentiable, so it can be attacked."""
        raise NotImplementedError

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise, of features N×512 and labels int64 N."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Set whatever the classifier derives from features of training images. Default: nothing."""


class Classifier(nn.Module):
    """Normalisation, backbone, head; see the module's docstring for shapes and ranges."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.backbone = backbone
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """The backbone's features, N×512, of images in [0, 1], N×3×H×W."""
        return self.backbone((images - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, N×classes, of images in [0, 1], N×3×H×W."""
        return self.head(self.features(images))


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
