"""NormFace: cross-entropy of normalised features and class weights (Wang et al. 2017, arXiv 1704.06369).

For an image with label y, θⱼ is the angle between its features and the weights of class j:

    loss = −log(exp(scale · cos θ_y) / Σⱼ exp(scale · cos θⱼ))

The classifier's logits are scale · cos θⱼ. A large scale saturates the softmax and hides the gradient from attacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """The block `loss_config.normface` of params.yaml."""

    scale: float = Field(ge=0.01, le=64)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head whose logits are scaled cosines to learned class weights, trained with cross-entropy."""
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss

    from robustness_study.losses.head import ClassWeights

    return ClassWeights(NormalizedSoftmaxLoss(classes, features, temperature=1 / config.scale))
