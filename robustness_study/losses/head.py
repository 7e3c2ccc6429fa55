"""The head: the part of a model that a loss puts on the backbone, with all methods that the rest of the study calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """The part of a model that a loss puts on the backbone. It gets the backbone's features, float32 N×D.

    A subclass must implement `forward` and `training_loss`. It implements `fit` if its classifier is computed after
    training and not trained (class centroids, for example). It implements `embeddings` if it maps the features to
    embeddings first.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Class logits, float32 N×classes, of features N×D. Must be differentiable: attacks use the gradient."""
        raise NotImplementedError

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The training loss to minimise, a scalar, of features N×D and labels int64 N."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Compute the classifier from features N×D and labels int64 N of training images. Default: do nothing."""

    def embeddings(self, features: Tensor) -> Tensor | None:
        """The embeddings N×E that the head compares with classes, of features N×D.

        Default: None, the head uses the features as they are.
        """
        return None


class ClassWeights(Head):
    """A head made of a classification loss of pytorch-metric-learning, which holds one weight vector per class.

    The weights belong to the model: they are in its state, and the optimiser trains them.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss: Any = loss

    def forward(self, features: Tensor) -> Tensor:
        """Class logits without a margin, N×classes."""
        return self.loss.get_logits(features)

    def training_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean loss over the batch, a scalar, with the margin (if any) on each image's own class."""
        return self.loss(features, labels)
