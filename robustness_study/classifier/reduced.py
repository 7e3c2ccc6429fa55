"""A trained model in the precision of training: several times faster on processors that compute in bfloat16.

In training the backbone computes in bfloat16, where the processor does so, and the head in float32. The stages that
score test images and attacked images use float32. What need not equal these to the last bit may use this file: images
for validation, images of the suite, and the searches of attacks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import precision_of


class Reduced:
    """A model whose backbone computes in the precision of training, with a copy of the weights in that precision.

    Its logits have gradients with respect to the images only. It computes what the model computes if the model was
    trained in float32, or if this device does not compute in bfloat16.
    """

    def __init__(self, model: Classifier, trained_in: str, network: str) -> None:
        """`trained_in` is "bfloat16" or "float32"; `network` is the network's name. The model is in evaluation mode."""
        self.mean, self.std, self.head = model.mean, model.std, model.head
        self.dtype = precision_of("auto" if trained_in == "bfloat16" else "float32", self.mean.device, network)
        self.backbone = model.backbone
        if self.dtype == torch.bfloat16:
            # torch's autocast would cast the weights anew for each batch; the copies have the same bits.
            self.backbone = copy.deepcopy(model.backbone).requires_grad_(False)
            for layer in self.backbone.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(torch.bfloat16)

    @classmethod
    def as_trained(cls, model: Classifier, notes: Mapping[str, Any]) -> Reduced:
        """The model in the precision that its notes name."""
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
