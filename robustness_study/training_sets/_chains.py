"""AugMix in batches: mixes an image with results of chains of operations (Hendrycks et al. 2020, arXiv 1912.02781).

    copy = (1 − m) · image + m · Σ over chains c of w_c · chain_c(image)

m is uniform in [0, 1] and w is uniform on the simplex (weights that sum to 1). A chain applies one to `depth` random
operations with random strengths. The operations and their largest strengths are those of the authors; none of them is a
corruption of CIFAR-10-C. The authors make new copies in each epoch, after crop and flip, and add a consistency loss.
Here each image has one copy, made before training, and any loss can be used. Areas from outside the image are grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustness_study.augmentation.trivial_augment import OPERATIONS
from robustness_study.core.seeds import streams

# Strengths at level 10: shears and translations as shares of the width, rotation in degrees. `strengths_of` computes
# those of posterize and solarize.
LARGEST = {"shear_x": 0.3, "shear_y": 0.3, "translate_x": 1 / 3, "translate_y": 1 / 3, "rotate": 30.0}
NAMES = (*LARGEST, "posterize", "solarize", "autocontrast", "equalize")
CHUNK = 500  # images that are floats in memory at a time; does not change the result


@dataclass(frozen=True)
class Settings:
    """Each image is mixed with `chains` chains of 1 to `depth` operations. `severity` is their strength, at most 10."""

    chains: int
    depth: int
    severity: float
    seed: int


@dataclass(frozen=True)
class Draws:
    """The random numbers for N images with C chains of up to D operations each."""

    mixed: np.ndarray  # (N,), in [0, 1]: m
    weights: np.ndarray  # (N, C), rows sum to 1
    depths: np.ndarray  # (N, C), in 1 … D
    operations: np.ndarray  # (N, C, D), positions in NAMES
    levels: np.ndarray  # (N, C, D), in [0.1, severity]
    negative: np.ndarray  # (N, C, D), bool: the strength is negative


def draw(indices: np.ndarray, settings: Settings, split: str) -> Draws:
    """The random numbers of the raw images `indices` (N,) of a split. Each image has its own stream."""
    chains, depth = settings.chains, settings.depth
    counts = [1, chains, chains, *[chains * depth] * 3]
    each = streams(indices, settings.seed, "augmix", split)
    uniform = np.stack([rng.random(sum(counts)) for rng in each])
    mixed, weights, depths, *others = np.split(uniform, np.cumsum(counts)[:-1], axis=1)
    operations, levels, signs = (part.reshape(-1, chains, depth) for part in others)
    weights = -np.log1p(-weights)  # exponential numbers divided by their sum are uniform on the simplex
    return Draws(
        mixed[:, 0],
        weights / weights.sum(1, keepdims=True),
        1 + (depths * depth).astype(np.int64),
        (operations * len(NAMES)).astype(np.int64),
        0.1 + levels * (settings.severity - 0.1),
        signs < 0.5,
    )


def strengths_of(name: str, levels: np.ndarray, negative: np.ndarray, side: int) -> np.ndarray:
    """The strengths of an operation, in the units of `trivial_augment`, at `levels` from 0 to 10.

    `negative` (bool) gives the signs, in the shape of `levels`. `side` is the width of the images in pixels.
    """
    shares = levels / 10
    match name:
        case "posterize":
            return 4 - np.trunc(shares * 4)  # number of bits that are kept
        case "solarize":
            return 1 - shares
        case "autocontrast" | "equalize":
            return np.zeros_like(shares)
    signed = np.where(negative, -shares, shares) * LARGEST[name]
    return np.trunc(signed * side) if name.startswith("translate") else signed


def mix(images: Tensor, draws: Draws) -> Tensor:
    """Mixed copies, float32 in [0, 1] up to rounding errors, of images N×3×H×W.

    The copy of an image has the same bits in any batch.
    """
    count, chains = draws.weights.shape
    copies = images.repeat_interleave(chains, 0)  # (N·C, 3, H, W)
    operations, levels, negative = (
        part.reshape(count * chains, -1) for part in (draws.operations, draws.levels, draws.negative)
    )
    for step in range(operations.shape[1]):
        active = draws.depths.reshape(-1) > step
        for position, name in enumerate(NAMES):
            (chosen,) = np.nonzero(active & (operations[:, step] == position))
            if len(chosen):
                found = strengths_of(name, levels[chosen, step], negative[chosen, step], images.shape[3])
                strengths = torch.from_numpy(found.astype(np.float32)).view(-1, 1, 1, 1)
                copies[chosen] = OPERATIONS[name](copies[chosen], strengths)
    by_chain = copies.view(count, chains, *images.shape[1:])
    weights = torch.from_numpy(draws.weights.astype(np.float32)).view(count, chains, 1, 1, 1)
    mixture = torch.zeros_like(images)
    for chain in range(chains):
        mixture += weights[:, chain] * by_chain[:, chain]
    shares = torch.from_numpy(draws.mixed.astype(np.float32)).view(-1, 1, 1, 1)
    return (1 - shares) * images + shares * mixture


def augmix(images: np.ndarray, settings: Settings, split: str, first: int = 0) -> np.ndarray:
    """Mixed copies of images, both uint8 N×H×W×3. `images` are the raw images `first`, `first` + 1, … of the split."""
    mixed = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        floats = torch.from_numpy(images[start : start + CHUNK]).permute(0, 3, 1, 2).float().contiguous() / 255
        draws = draw(np.arange(first + start, first + start + len(floats)), settings, split)
        bytes_ = (mix(floats, draws) * 255).round().to(torch.uint8)
        mixed[start : start + CHUNK] = bytes_.permute(0, 2, 3, 1).numpy()
    return mixed
