"""Image corruptions with five severities: the 19 of CIFAR-10-C and those of the studies, for square images.

They follow Hendrycks & Dietterich 2019 (arXiv 1903.12261), with the constants of CIFAR-10-C. Lengths in pixels are
given for images 32 pixels wide and grow with the image. Images are corrupted in batches. The random numbers of an
image depend only on the seed, the split, the image's index, the corruption and the severity. So its corrupted copy
does not depend on the batch, the order, the number of threads, or other corruptions.

    from robustness_study.corruptions import corrupt, names
    foggy = corrupt(images, "fog", severity=3, seed=0, split="test")  # uint8 N×H×H×3, as `images`

It needs only numpy, scipy, pillow and torch. Importing this package and listing the names does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustness_study.corruptions.registry import (
    SEVERITIES,
    Corruption,
    check_severity,
    corruption,
    families,
    family_of,
    find,
    names,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "CIFAR_10_C",
    "CIFAR_10_C_FAMILIES",
    "HELD_OUT",
    "SEVERITIES",
    "Corruption",
    "check_severity",
    "corrupt",
    "corruption",
    "families",
    "family_of",
    "find",
    "names",
]

# The full benchmark. These lists stay the same when other corruptions are added.
CIFAR_10_C = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
HELD_OUT = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # the four extra corruptions of the benchmark
CIFAR_10_C_FAMILIES = {  # all 19 corruptions of the benchmark
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int | Sequence[int] | np.ndarray,
    *,
    seed: int,
    split: str,
    indices: Sequence[int] | np.ndarray | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Corrupted copies of uint8 images N×H×H×3, with the same shape and type; H is at least 8. The input is unchanged.

    `name` is one of `names()`. `severity` is one number for all images, or one for each image (N,); it is 0
    (unchanged) to 5.

    The same `seed` (any whole number), `split` (any text, for example "train") and index always give the same random
    numbers. `indices` (N,), each 0 or more, say which images of the split these are; the default is 0, 1, …. With
    them, a part of a split is corrupted exactly as in the whole split. `device` is a torch device; on others than
    "cpu", a few values may be rounded differently.

    Raises `robustness_study.core.errors.StudyError`, with a text of one line, for an unknown name or severity, a
    wrong number of severities or indices, a negative index, and images of a wrong shape, type or size.
    """
    from robustness_study.corruptions.apply import corrupted_copies  # imports torch, which takes seconds

    return corrupted_copies(images, name, severity, seed, split, indices, device)
