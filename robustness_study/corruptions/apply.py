"""Corrupted copies of any images: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from robustness_study.core.errors import StudyError
from robustness_study.corruptions import SEVERITIES, check_severity, find
from robustness_study.corruptions.draws import Draws

CHUNK_PIXELS = 500 * 32 * 32  # of images in memory as floats at a time; no effect on the result


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
    check_images(images)
    function = find(name)
    indices = np.arange(len(images)) if indices is None else np.asarray(indices)
    of_each = np.broadcast_to(np.asarray(severities), len(images))
    for severity in np.unique(of_each):
        check_severity(severity)
    chunk_size = max(1, CHUNK_PIXELS // images.shape[1] ** 2)
    corrupted = images.copy()
    for severity in SEVERITIES:
        (of_this,) = np.nonzero(of_each == severity)
        for start in range(0, len(of_this), chunk_size):
            chunk = of_this[start : start + chunk_size]
            floats = torch.from_numpy(images[chunk]).to(device).permute(0, 3, 1, 2).float().contiguous() / 255
            draws = Draws(indices[chunk], seed, split, name, severity, device)
            bytes_ = (function(floats, severity, draws) * 255).round().to(torch.uint8)
            corrupted[chunk] = bytes_.permute(0, 2, 3, 1).cpu().numpy()
    return corrupted
