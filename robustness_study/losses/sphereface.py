"""SphereFace: the angle to an image's own class, multiplied (Liu et al. 2017, arXiv 1704.08063, equation 7).

For an image with label y whose features x stand at angle θⱼ to the weights of class j, all of length one:

    loss = −log(exp(s|x| φ(θ_y)) / (exp(s|x| φ(θ_y)) + Σ over j ≠ y of exp(s|x| cos θⱼ)))
    φ(θ) = (λ cos θ + ψ(θ)) / (λ + 1)
    ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  for θ between k·180°/m and (k + 1)·180°/m

with m = `angle_factor`, a whole number, λ = `cosine_weight` and s = `scale`. The classifier is s|x| cos θⱼ:
the network learns the length of its features. Without λ hardly anything is learnt: features begin at about 90°
to every class, and for an even m that is where ψ is flat. The authors begin with a large λ and lower it, to 5
in the settings that they released; here it is constant, and a strong margin from the start lets features shrink: in
80 steps without augmentation (`half` stem, batch 64, one run each) from a length of 20 to 1 with m = 4 and λ = 5, to
4 with 2 and 5, to 6 with 4 and 20, to 18 with 2 and 20. The paper has s = 1; ResNet-18's features are about 20 long
before training, where such a softmax is saturated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from robustness_study.core.section import Section

if TYPE_CHECKING:
    from robustness_study.losses.head import Head

BATCHES = "shuffled"


class Config(Section):
    """`loss_config.sphereface`."""

    angle_factor: int = Field(ge=1, le=4)
    cosine_weight: float = Field(ge=0)
    scale: float = Field(gt=0)


def make_head(config: Config, features: int, classes: int) -> Head:
    """Features times learned class weights of length one, trained with a multiplied angle."""
    from pytorch_metric_learning.losses import SphereFaceLoss
    from torch import Tensor

    from robustness_study.losses.head import ClassWeights

    class Blended(SphereFaceLoss):  # type: ignore[misc]  # the library has no types
        def modify_cosine_of_target_classes(self, cosines: Tensor) -> Tensor:
            multiplied = super().modify_cosine_of_target_classes(cosines)
            return (config.cosine_weight * cosines + multiplied) / (config.cosine_weight + 1)

    return ClassWeights(Blended(classes, features, margin=config.angle_factor, scale=config.scale))
