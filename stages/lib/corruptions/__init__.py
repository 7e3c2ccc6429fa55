"""The corruptions of CIFAR-10-C and the studies' own, batched and seeded, for images of any square size.

Hendrycks & Dietterich 2019 (arXiv 1903.12261): 15 corruptions and 4 held out, each at 5 severities, with the
constants of CIFAR-10-C. Lengths in pixels grow with the image: 32 pixels are one unit. Each image has a random
stream of its own, keyed by (seed, split, index, corruption, severity), so what becomes of an image does not depend
on the batch, the order, the number of threads, or which other corruptions run.

`corrupt` is all a caller needs. A corruption itself is a function in the file of its family: float32 images in
[0, 1], N×3×H×W, one severity's constants, and what to draw from. Naming and listing them imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

    from stages.lib.corruptions.draws import Draws

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
CHUNK = 500  # images in memory as floats at a time; no effect on the result


@dataclass(frozen=True)
class Corruption:
    """A function and its constants at the five severities."""

    name: str
    severities: tuple[Any, ...]
    function: Function

    def __call__(self, images: Tensor, severity: int, draws: Draws) -> Tensor:
        """Images N×3×H×W in [0, 1] at one severity; 0 leaves them as they are."""
        if severity == 0:
            return images
        return self.function(images, self.severities[severity - 1], draws).clamp(0, 1)


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
    found: Corruption = getattr(import_module(f"stages.lib.corruptions.{family_of(name)}"), name)
    return found


def check_images(images: np.ndarray) -> None:
    """StudyError if images are not uint8 N×H×H×3 with a side of at least 8 pixels."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        shape = "×".join(map(str, images.shape))
        raise StudyError(f"images are {images.dtype} {shape}; they must be uint8 N×H×H×3, square and in colour")
    if images.shape[1] < 8:
        raise StudyError(f"images are {images.shape[1]} pixels wide; they must have at least 8")


def corrupt(
    images: np.ndarray,
    name: str,
    severities: int | Sequence[int] | np.ndarray,
    *,
    seed: int,
    split: str,
    indices: np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Corrupted copies, rounded, of uint8 images N×H×H×3.

    `severities` is one for all or one for each, 0 (nothing) to 5. `split` and `indices` say which raw images these
    are (default: 0, 1, …), so that a part of them is corrupted as it would be among all. Another `device` than the
    CPU may round a few values differently. StudyError if there is no such corruption or severity.
    """
    import torch

    from stages.lib.corruptions.draws import Draws

    check_images(images)
    function = find(name)
    indices = np.arange(len(images)) if indices is None else np.asarray(indices)
    of_each = np.broadcast_to(np.asarray(severities), len(images))
    wrong = [str(severity) for severity in np.unique(of_each) if severity not in (0, *SEVERITIES)]
    if wrong:
        raise StudyError(f"there is no severity {wrong[0]}; severities are 0 (nothing) to 5")
    corrupted = images.copy()
    for severity in SEVERITIES:
        (of_this,) = np.nonzero(of_each == severity)
        for start in range(0, len(of_this), CHUNK):
            chunk = of_this[start : start + CHUNK]
            floats = torch.from_numpy(images[chunk]).to(device).permute(0, 3, 1, 2).float().contiguous() / 255
            draws = Draws(indices[chunk], seed, split, name, severity, device)
            bytes_ = (function(floats, severity, draws) * 255).round().to(torch.uint8)
            corrupted[chunk] = bytes_.permute(0, 2, 3, 1).cpu().numpy()
    return corrupted
