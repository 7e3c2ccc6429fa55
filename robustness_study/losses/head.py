"""What a loss puts on the backbone: everything that the rest of the study may ask of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """What a loss puts on the backbone. Features are float32 N×D, D the width of the network's features.

    A subclass must implement `forward` and `training_loss`. It implements `fit` if it classifies by something other
    than trained weights (class centroids, say), and `embeddings` if it first maps the features somewhere else.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Class logits, float32 N×classes, of features N×D; differentiable, so that they can be attacked."""
        raise NotImplementedError

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise, of features N×D and labels int64 N."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Set what the classifier takes from features N×D and labels int64 N of training images. Default: nothing."""

    def embeddings(self, features: Tensor) -> Tensor | None:
        """The embeddings N×E that the head compares with classes, of features N×D.

        Default: None, the head uses the features as they are.
        """
        return None


class ClassWeights(Head):
    """A classification loss of pytorch-metric-learning, which holds one weight vector per class, as a head.

    The weights are the model's: they are in its state and among the parameters that its optimiser gets.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss: Any = loss

    def forward(self, features: Tensor) -> Tensor:
        """Class logits without a margin, N×classes."""
        return self.loss.get_logits(features)

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch, with the margin on each image's own class."""
        return self.loss(features, labels)
