"""CosFace: a margin is subtracted from the cosine of the image's own class.

Wang et al. 2018 (arXiv 1801.09414), equation 4.

For an image with label y, θⱼ is the angle between its features and the weights of class j:

    loss = −log(e_y / (e_y + Σ over j ≠ y of exp(scale · cos θⱼ))),  e_y = exp(scale · (cos θ_y − margin))

The classifier's logits are scale · cos θⱼ. Face recognition uses a scale of 64 and a margin of 0.35. With ten classes
these values saturate the softmax, which hides the gradient from an attack. The study's margin of 0.1 with scale 16 is
so small that the loss is nearly NormFace: it lowers the logit of the own class by 1.6 (0.35 with scale 64: by 22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """The block `loss_config.cosface` of params.yaml."""

    margin_cosine: float = Field(ge=0, le=1)
    scale: float = Field(ge=0.01, le=64)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head whose logits are scaled cosines to learned class weights, trained with a margin on the cosine."""
    from pytorch_metric_learning.losses import CosFaceLoss

    from robustness_study.losses.head import ClassWeights

    return ClassWeights(CosFaceLoss(classes, features, margin=config.margin_cosine, scale=config.scale))
