"""The `corrupt` section of params.yaml: the mix that is applied to every image."""

from __future__ import annotations

from pydantic import Field

from stages.lib.schema.base import Section


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


class Corrupt(Section):
    """`seed` is the corruption's own: every split of the images sees the same corrupted copies."""

    seed: int = Field(ge=0)
    mix: Mix
