"""ArcFace: a margin on the angle to an image's own class (Deng et al. 2019, arXiv 1801.07698, equation 3).

For an image with label y whose features stand at angle θⱼ to the weights of class j:

    loss = −log(e_y / (e_y + Σ over j ≠ y of exp(scale · cos θⱼ))),  e_y = exp(scale · cos(θ_y + margin))

Where θ_y + margin would pass 180°, cos θ_y − margin · sin(margin) stands for the first cosine, so that the
loss keeps falling with the angle. The classifier is scale · cos θⱼ. Face recognition uses a scale of 64
and a margin of 28.6°; with ten classes those saturate the softmax, which hides gradients from an attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """`loss_config.arcface`."""

    margin_degrees: float = Field(ge=0, lt=90)
    scale: float = Field(gt=0, le=64)


def make_head(config: Config, features: int, classes: int) -> Head:
    """Cosine to learned class weights, trained with a margin on the angle."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    from robustness_study.losses.head import ClassWeights

    return ClassWeights(ArcFaceLoss(classes, features, margin=config.margin_degrees, scale=config.scale))
