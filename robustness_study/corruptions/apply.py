"""Makes corrupted copies of images, from bytes to bytes. Call it through `robustness_study.corruptions.corrupt`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from robustness_study.core.errors import StudyError
from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.registry import SEVERITIES, check_severity, find

# Pixels that are floats in memory at a time; their number does not change the result. With twice as many,
# memory goes back to the system and is asked for again, and page faults cost up to a tenth of the time.
CHUNK_PIXELS = 250 * 32 * 32


def check_images(images: np.ndarray) -> None:
    """Raise StudyError if `images` is not an array uint8 N×H×H×3 with H of at least 8."""
    if not isinstance(images, np.ndarray):
        raise StudyError(f"images have the type {type(images).__name__}; they must be a numpy array, uint8 N×H×H×3")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        shape = "×".join(map(str, images.shape))
        raise StudyError(f"images are {images.dtype} {shape}; they must be uint8 N×H×H×3: square, with 3 colours")
    if images.shape[1] < 8:
        raise StudyError(f"images are {images.shape[1]} pixels wide; they must have at least 8 pixels")


def checked_severities(severity: int | Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """The severities (count,), one for each image. Raises StudyError for an unknown severity or a wrong number."""
    given = np.asarray(severity)
    if given.shape not in ((), (count,)):
        raise StudyError(f"severity has shape {given.shape} for {count} images; give one for all or one for each image")
    for each in np.unique(given):
        check_severity(each)
    return np.broadcast_to(given, count)


def checked_indices(indices: Sequence[int] | np.ndarray | None, count: int) -> np.ndarray:
    """The indices (count,), one for each image; 0, 1, … if `indices` is None.

    Raises StudyError if they are not whole numbers, 0 or more, one for each image.
    """
    if indices is None:
        return np.arange(count)
    given = np.asarray(indices)
    if given.shape != (count,):
        raise StudyError(f"indices have shape {given.shape} for {count} images; give one for each image")
    if count and (given.dtype.kind not in "iu" or given.min() < 0):
        raise StudyError("indices must be whole numbers, 0 or more: the positions of the images in the split")
    return given


def corrupted_copies(
    images: np.ndarray,
    name: str,
    severity: int | Sequence[int] | np.ndarray,
    seed: int,
    split: str,
    indices: Sequence[int] | np.ndarray | None,
    device: str,
) -> np.ndarray:
    """The same as `robustness_study.corruptions.corrupt`; see there for arguments, result and errors."""
    check_images(images)
    function = find(name)
    severities, raw_indices = checked_severities(severity, len(images)), checked_indices(indices, len(images))
    chunk_size = max(1, CHUNK_PIXELS // images.shape[1] ** 2)
    corrupted = images.copy()
    for level in SEVERITIES:
        (at_level,) = np.nonzero(severities == level)
        for start in range(0, len(at_level), chunk_size):
            chunk = at_level[start : start + chunk_size]
            # Reordering bytes is several times faster than reordering floats.
            floats = torch.from_numpy(images[chunk]).to(device).permute(0, 3, 1, 2).contiguous().float() / 255
            draws = Draws(raw_indices[chunk], seed, split, name, level, device)
            levels = (function(floats, level, draws) * 255).round_().cpu().numpy()
            bytes_ = levels.astype(np.uint8)  # by numpy, which is several times faster at it than torch
            corrupted.transpose(0, 3, 1, 2)[chunk] = bytes_
    return corrupted
