"""The `corrupt` section of params.yaml: named corruptions, then the studies' corruption (the mix)."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section, Seed
from robustness_study.corruptions.mix import JitterStrengths, MixStrengths


class ColorJitter(Section):
    """Largest relative change of brightness, contrast and saturation; largest change of hue, in full turns."""

    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    hue: float = Field(ge=0, le=0.5)


class Rotation(Section):
    """The angle is uniform in [−max_degrees, max_degrees]."""

    max_degrees: float = Field(ge=0, le=180)


class HorizontalFlip(Section):
    """The probability that an image is mirrored."""

    probability: float = Field(ge=0, le=1)


class GaussianNoise(Section):
    """`sigma` is the standard deviation, for images in [0, 1]."""

    sigma: float = Field(ge=0, le=1)


class Mix(Section):
    """The four steps of the mix. Each image gets all of them, in this order."""

    color_jitter: ColorJitter
    rotation: Rotation
    horizontal_flip: HorizontalFlip
    gaussian_noise: GaussianNoise

    def strengths(self) -> MixStrengths:
        """The same values in the form that robustness_study/corruptions/mix.py uses."""
        return MixStrengths(
            JitterStrengths(**self.color_jitter.model_dump()),
            self.rotation.max_degrees,
            self.horizontal_flip.probability,
            self.gaussian_noise.sigma,
        )


class Named(Section):
    """One corruption of `robustness_study.corruptions`; each image gets it with this probability."""

    corruption: str
    severity: int = Field(ge=1, le=5)
    probability: float = Field(gt=0, le=1)


class Corrupt(Section):
    """`seed` belongs to the corruption only, so all splits use the same corrupted copies.

    `before` lists the corruptions that are applied before the mix, in this order.
    """

    seed: Seed
    before: list[Named]
    mix: Mix
