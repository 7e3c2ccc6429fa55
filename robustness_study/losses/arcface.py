"""ArcFace: a margin is added to the angle to the image's own class (Deng et al. 2019, arXiv 1801.07698, equation 3).

For an image with label y, θⱼ is the angle between its features and the weights of class j:

    loss = −log(e_y / (e_y + Σ over j ≠ y of exp(scale · cos θⱼ))),  e_y = exp(scale · cos(θ_y + margin))

If θ_y + margin would exceed 180°, cos θ_y − margin · sin(margin) replaces cos(θ_y + margin). So the loss keeps falling
as the angle falls. The classifier's logits are scale · cos θⱼ. Face recognition uses a scale of 64 and a margin of
28.6°. With ten classes these values saturate the softmax, which hides the gradient from an attack. The study's margin
of 6° with scale 16 is so small that the loss is nearly NormFace: at θ_y = 45° it lowers the logit of the own class by
1.2 (28.6° with scale 64: by 27).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """The block `loss_config.arcface` of params.yaml."""

    margin_degrees: float = Field(ge=0, lt=90)
    scale: float = Field(ge=0.01, le=64)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head whose logits are scaled cosines to learned class weights, trained with a margin on the angle."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    from robustness_study.losses.head import ClassWeights

    return ClassWeights(ArcFaceLoss(classes, features, margin=config.margin_degrees, scale=config.scale))
