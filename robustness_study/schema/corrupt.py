"""The `corrupt` section of params.yaml: what is applied to every image, corruptions by name and then the mix."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section
from robustness_study.corruptions.mix import JitterStrengths, MixStrengths


class ColorJitter(Section):
    """Largest relative change of brightness, contrast and saturation; largest turn of hue, in whole turns."""

    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    hue: float = Field(ge=0, le=0.5)


class Rotation(Section):
    """The angle is uniform in ± this."""

    max_degrees: float = Field(ge=0, le=180)


class HorizontalFlip(Section):
    """The share of images that are mirrored."""

    probability: float = Field(ge=0, le=1)


class GaussianNoise(Section):
    """Standard deviation where images are in [0, 1]."""

    sigma: float = Field(ge=0, le=1)


class Mix(Section):
    """Applied to each image in this order."""

    color_jitter: ColorJitter
    rotation: Rotation
    horizontal_flip: HorizontalFlip
    gaussian_noise: GaussianNoise

    def strengths(self) -> MixStrengths:
        """The same values, as the corruptions take them."""
        return MixStrengths(
            JitterStrengths(**self.color_jitter.model_dump()),
            self.rotation.max_degrees,
            self.horizontal_flip.probability,
            self.gaussian_noise.sigma,
        )


class Named(Section):
    """One of `robustness_study.corruptions`, on that share of the images."""

    corruption: str
    severity: int = Field(ge=1, le=5)
    probability: float = Field(gt=0, le=1)


class Corrupt(Section):
    """`seed` is the corruption's own: every split of the images sees the same corrupted copies.

    `before` the mix, in this order, any of the project's corruptions.
    """

    seed: int = Field(ge=0)
    before: list[Named]
    mix: Mix
