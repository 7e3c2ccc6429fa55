"""A trained model whose backbone computes in bfloat16: about twice as fast on processors that do so, or faster.

The head computes in float32, as in training. `evaluate` scores test images in float32, and so does `attack` wherever
an image counts as wrong. What need not equal these to the last bit uses this file: training and validation images, the
suite, and the searches of attacks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustness_study import networks
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import precision_of


def uses_weights_as_they_are(layer: nn.Module) -> bool:
    """Whether it is a convolution or a linear layer of torch or of this project.

    Those of other libraries may compute with their weights first, and autocast leaves that in float32.
    """
    kind = type(layer)
    ours = isinstance(layer, nn.Conv2d) and kind.__module__.startswith(networks.__name__)
    return kind in (nn.Conv2d, nn.Linear) or ours


class Reduced:
    """A model with a copy of the backbone's weights in bfloat16, if that is wanted and this device computes in it.

    Its logits then have gradients with respect to the images only. Otherwise it computes what the model computes.
    """

    def __init__(self, model: Classifier, wanted: str, network: str) -> None:
        """`wanted` is "bfloat16" or "float32"; `network` is the network's name. The model is in evaluation mode."""
        self.mean, self.std, self.head = model.mean, model.std, model.head
        self.dtype = precision_of("auto" if wanted == "bfloat16" else "float32", self.mean.device, network)
        self.backbone = model.backbone
        if self.dtype == torch.bfloat16:
            # torch's autocast would cast the weights anew for each batch; the copies have the same bits.
            self.backbone = copy.deepcopy(model.backbone).requires_grad_(False)
            for layer in self.backbone.modules():
                if uses_weights_as_they_are(layer):
                    layer.to(torch.bfloat16)

    @classmethod
    def as_trained(cls, model: Classifier, notes: Mapping[str, Any]) -> Reduced:
        """The model in the precision of its training, which its notes name."""
        return cls(model, notes["environment"]["precision"], notes["network"])

    @property
    def precision(self) -> str:
        """The name of the precision: "bfloat16" or "float32"."""
        return str(self.dtype).removeprefix("torch.")

    def features(self, images: Tensor) -> Tensor:
        """The backbone's features, float32 N×D, of images in [0, 1], N×3×H×W."""
        reduced = self.dtype == torch.bfloat16
        with torch.autocast(self.mean.device.type, torch.bfloat16, enabled=reduced):  # of the thread that computes
            features: Tensor = self.backbone((images - self.mean) / self.std)
        return features.float()

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits, N×classes, and features, N×D, both float32, of images in [0, 1], N×3×H×W."""
        features = self.features(images)
        return self.head(features), features

    def __call__(self, images: Tensor) -> Tensor:
        """Class logits, float32 N×classes, of images in [0, 1], N×3×H×W."""
        return self.outputs(images)[0]
