"""The head of losses that learn one weight vector per class: logits without the margin, the loss with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from robustness_study.losses.head import Head


class ClassWeights(Head):
    """A classification loss of pytorch-metric-learning, which holds the class weights, as a head.

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
