"""The studies' corrupted copy of every image: corruptions by name first, then the mix, rounded to bytes.

In: images uint8 N×H×W×3, in the order of the raw split. Out: their copies and what was drawn for each. A copy depends
on the seed, the split and the image's index alone. The mix is colour jitter, rotation, horizontal flip and Gaussian
noise, see `robustness_study.corruptions.mix`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness_study.core.seeds import derive_seed, streams
from robustness_study.corruptions import corrupt
from robustness_study.corruptions.mix import MixStrengths, draw_mix, draw_noise, mix

CHUNK = 1000  # images in memory as floats at a time; no effect on the result


def mixed_copies(
    images: np.ndarray, strengths: MixStrengths, seed: int, split: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Copies of images uint8 N×H×W×3 under the mix, rounded, in the same shape; and the draws, arrays of length N."""
    draws = draw_mix(np.arange(len(images)), strengths, seed, split)
    corrupted = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = slice(start, start + CHUNK)
        floats = images[chunk].transpose(0, 3, 1, 2).astype(np.float32) / 255  # (N, 3, H, W)
        indices = np.arange(start, start + len(floats))
        noise = draw_noise(indices, strengths.sigma, seed, split, floats.shape[1:])
        mixed = mix(floats, {name: values[chunk] for name, values in draws.items()}, noise)
        corrupted[chunk] = np.rint(mixed * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return corrupted, draws


def under_named(images: np.ndarray, named: Sequence[tuple[str, int, float]], seed: int, split: str) -> np.ndarray:
    """Copies of images uint8 N×H×H×3 under corruptions one after the other: each a name, a severity, a probability.

    The images themselves if none is named. Raises StudyError if a corruption cannot take such images.
    """
    if not named:
        return images
    images = images.copy()
    for place, (name, severity, probability) in enumerate(named):
        lots = streams(np.arange(len(images)), seed, split, "before", place, name)
        (chosen,) = np.nonzero([rng.random() < probability for rng in lots])
        own = derive_seed(seed, "before", place)  # the same corruption a second time draws other numbers
        images[chosen] = corrupt(images[chosen], name, severity, seed=own, split=split, indices=chosen)
    return images
