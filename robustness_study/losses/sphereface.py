"""SphereFace: the angle to the image's own class is multiplied by m (Liu et al. 2017, arXiv 1704.08063, equation 7).

For an image with label y and features x, θⱼ is the angle between x and the weights of class j, which have length one:

    loss = −log(exp(s|x| φ(θ_y)) / (exp(s|x| φ(θ_y)) + Σ over j ≠ y of exp(s|x| cos θⱼ)))
    φ(θ) = (λ cos θ + ψ(θ)) / (λ + 1)
    ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  for θ between k·180°/m and (k + 1)·180°/m

Here m is `angle_factor`, a whole number, λ is `cosine_weight` and s is `scale`. The classifier's logits are
s|x| cos θⱼ, so the network also learns the length |x| of its features.

- Why λ: without it the model learns almost nothing. At first, features are at about 90° to every class. For an even m,
  ψ is flat there.
- The value of λ: the authors start with a large λ and lower it, to 5 in the settings that they released. Here λ is
  constant, so the margin is strong from the start and features shrink. Their length was 20 before training. After 80
  steps without augmentation (`half` stem, batch 64, one run each) it was 1 with m = 4 and λ = 5; 4 with m = 2 and
  λ = 5; 6 with m = 4 and λ = 20; 18 with m = 2 and λ = 20.
- How small the margin is: with the study's m = 2 and λ = 20, φ(45°) is the cosine of 47.7°, so the margin is like 2.7°
  more. With the released m = 4 and λ = 5 it is like 20° more. So here the loss is nearly cross-entropy with class
  weights of length one.
- The value of s: the paper has s = 1. Features of ResNet-18 have a length of about 20 before training. With s = 1 this
  saturates the softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """The block `loss_config.sphereface` of params.yaml."""

    angle_factor: int = Field(ge=1, le=4)
    cosine_weight: float = Field(ge=0, le=1000)
    scale: float = Field(ge=0.01, le=10)


def make_head(config: Config, features: int, classes: int) -> Head:
    """A head whose logits are features times learned class weights of length one, trained with a multiplied angle."""
    from pytorch_metric_learning.losses import SphereFaceLoss
    from torch import Tensor

    from robustness_study.losses.head import ClassWeights

    class Blended(SphereFaceLoss):  # type: ignore[misc]  # the library has no types
        def modify_cosine_of_target_classes(self, cosines: Tensor) -> Tensor:
            multiplied = super().modify_cosine_of_target_classes(cosines)
            return (config.cosine_weight * cosines + multiplied) / (config.cosine_weight + 1)

    return ClassWeights(Blended(classes, features, margin=config.angle_factor, scale=config.scale))
