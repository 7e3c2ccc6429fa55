"""The corruptions of CIFAR-10-C and the studies' own, batched and seeded, for images of any square size.

Hendrycks & Dietterich 2019 (arXiv 1903.12261): 15 corruptions and 4 held out, each at 5 severities, with the
constants of CIFAR-10-C. Lengths in pixels grow with the image: 32 pixels are one unit. Each image has a random
stream of its own, keyed by (seed, split, index, corruption, severity), so what becomes of an image does not depend
on the batch, the order, the number of threads, or which other corruptions run.

`robustness_study.corruptions.apply.corrupt` is all a caller needs. A corruption itself is a function in the file of its
family: float32 images in [0, 1], N×3×H×W, one severity's constants, and what to draw from. Naming and listing them
imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from robustness_study.core.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

    from robustness_study.corruptions.draws import Draws

    Function = Callable[[Tensor, Any, Draws], Tensor]

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
    "studies": ("color_jitter", "horizontal_flip", "rotation", "mix", "mix_without_flip"),
}
HELD_OUT = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
BENCHMARK = tuple(name for family in ("noise", "blur", "weather", "digital") for name in FAMILIES[family])
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A function and its constants at the five severities."""

    name: str
    severities: tuple[Any, ...]
    function: Function

    def __call__(self, images: Tensor, severity: int, draws: Draws) -> Tensor:
        """Images N×3×H×W in [0, 1] at one severity, 0 (as they are) to 5; `apply.corrupt` takes one for each image."""
        check_severity(severity)
        if severity == 0:
            return images
        return self.function(images, self.severities[severity - 1], draws).clamp(0, 1)


def check_severity(severity: int) -> None:
    """StudyError if there is no such severity."""
    if severity not in (0, *SEVERITIES):
        raise StudyError(f"there is no severity {severity}; severities are 0 (nothing) to 5")


def corruption(*severities: Any) -> Callable[[Function], Corruption]:
    """Make a function a corruption, with its constants at severities 1 to 5."""
    assert len(severities) == len(SEVERITIES)

    def decorate(function: Function) -> Corruption:
        return Corruption(function.__name__, severities, function)

    return decorate


def names() -> list[str]:
    """All corruptions, family by family."""
    return [name for family in FAMILIES.values() for name in family]


def family_of(name: str) -> str:
    """The family of a corruption; StudyError, with all names, if there is none of that name."""
    for family, members in FAMILIES.items():
        if name in members:
            return family
    raise StudyError(f"there is no corruption {name!r}; there are {', '.join(names())}")


def find(name: str) -> Corruption:
    """The corruption of that name; StudyError if there is none."""
    found: Corruption = getattr(import_module(f"robustness_study.corruptions.{family_of(name)}"), name)
    return found
