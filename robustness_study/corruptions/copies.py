"""Makes the corrupted copy of every image: first the named corruptions, then the studies' corruption (the mix).

Images are uint8 N×H×W×3, in the order of the raw split. A copy depends only on the seed, the split and the index of the
image. The mix is colour jitter, rotation, horizontal flip and Gaussian noise, see `robustness_study.corruptions.mix`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness_study.core.seeds import derive_seed, streams
from robustness_study.corruptions import corrupt
from robustness_study.corruptions.mix import MixStrengths, draw_mix, draw_noise, mix

CHUNK = 1000  # images that are floats in memory at a time; does not change the result


def mixed_copies(
    images: np.ndarray, strengths: MixStrengths, seed: int, split: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Copies of the images under the mix, and the random numbers of each image.

    Images and copies are uint8 N×H×W×3. The random numbers are arrays of length N by name, see `draw_mix`.
    """
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
    """Copies of images uint8 N×H×H×3 under the corruptions in `named`, one after the other.

    Each corruption is (name, severity, probability that an image gets it). Returns `images` itself if `named` is empty.
    Raises StudyError if a corruption does not exist or cannot take such images.
    """
    if not named:
        return images
    images = images.copy()
    for place, (name, severity, probability) in enumerate(named):
        rngs = streams(np.arange(len(images)), seed, split, "before", place, name)
        (chosen,) = np.nonzero([rng.random() < probability for rng in rngs])
        own = derive_seed(seed, "before", place)  # if a corruption is named twice, its random numbers differ
        images[chosen] = corrupt(images[chosen], name, severity, seed=own, split=split, indices=chosen)
    return images
