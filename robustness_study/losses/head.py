"""What a loss puts on the backbone: a training loss, class logits, and perhaps embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
