"""The studies' corruption (the mix): draws the random numbers of each image and applies the mix, in batches.

The mix is colour jitter, rotation, horizontal flip and Gaussian noise; each image gets all four. Images are float32 in
[0, 1], N×3×H×W, and results are clipped to [0, 1]. All random numbers come from a stream that depends only on seed, raw
split, index and corruption. So the copy of an image does not depend on the batch, the order, or other corruptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robustness_study.core.seeds import streams

GREY = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)  # ITU-R BT.601 luma
JITTERS = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True)
class JitterStrengths:
    """Largest relative change of brightness, contrast and saturation, in [0, 1]; of hue, in full turns, in [0, 0.5]."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class MixStrengths:
    """The strengths of the mix. `sigma` is the standard deviation of the noise, for images in [0, 1]."""

    color_jitter: JitterStrengths
    max_degrees: float  # of rotation, in both directions
    flip_probability: float
    sigma: float


def mix(images: np.ndarray, draws: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """The images under all four corruptions of the mix, in the order of params.yaml.

    `draws` is from `draw_mix`. `noise` has the shape of the images and is added to their values in [0, 1].
    """
    images = color_jitter(images, draws)
    images = rotation(images, draws["angle_degrees"])
    images = horizontal_flip(images, draws["flipped"])
    return np.clip(images + noise, 0, 1)


def draw_mix(indices: np.ndarray, strengths: MixStrengths, seed: int, split: str) -> dict[str, np.ndarray]:
    """The random numbers of the mix for each image: arrays of length N, with the names used in data/corrupted."""

    def each(corruption: str) -> Iterator[np.random.Generator]:
        return streams(indices, seed, split, corruption)

    limit, chance = strengths.max_degrees, strengths.flip_probability
    return {
        **draw_color_jitter(each("color_jitter"), strengths.color_jitter),
        "angle_degrees": np.array([rng.uniform(-limit, limit) for rng in each("rotation")], np.float32),
        "flipped": np.array([rng.random() < chance for rng in each("horizontal_flip")], bool),
    }


def draw_noise(indices: np.ndarray, sigma: float, seed: int, split: str, shape: tuple[int, ...]) -> np.ndarray:
    """Gaussian noise for each image, float32 N×`shape`."""
    rngs = streams(indices, seed, split, "gaussian_noise")
    return np.stack([sigma * rng.standard_normal(shape, np.float32) for rng in rngs])


def draw_color_jitter(rngs: Iterator[np.random.Generator], strengths: JitterStrengths) -> dict[str, np.ndarray]:
    """For each image: factors of brightness, contrast and saturation, the turn of hue, and the order of the four.

    Arrays by name: float32 (N,), and `jitter_order` uint8 (N, 4), in which number i stands for `JITTERS[i]`.
    """
    largest = [strengths.brightness, strengths.contrast, strengths.saturation, strengths.hue]
    changes, orders = [], []
    for rng in rngs:
        changes.append(rng.uniform(-1, 1, 4) * largest)
        orders.append(rng.permutation(4))
    columns = np.array(changes, np.float32).reshape(-1, 4).T
    factors = {name: change + (name != "hue") for name, change in zip(JITTERS, columns, strict=True)}
    return {**factors, "jitter_order": np.array(orders, np.uint8).reshape(-1, 4)}


def color_jitter(images: np.ndarray, draws: dict[str, np.ndarray]) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, in the order of each image. See `draw_color_jitter`."""
    functions = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    images = images.copy()
    for place in range(len(JITTERS)):
        for position, name in enumerate(JITTERS):
            now = draws["jitter_order"][:, place] == position
            if now.any():
                images[now] = functions[name](images[now], draws[name][now])
    return images


def _blend(images: np.ndarray, others: np.ndarray | float, factors: np.ndarray) -> np.ndarray:
    weights = factors.reshape(-1, 1, 1, 1).astype(np.float32)
    return np.clip(images * weights + others * (1 - weights), 0, 1)


def brightness(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scale the values by factors (N,), so towards or away from black."""
    return _blend(images, 0.0, factors)


def contrast(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scale the values about the mean grey of the image, by factors (N,)."""
    return _blend(images, (images * GREY).sum(1, keepdims=True).mean((2, 3), keepdims=True), factors)


def saturation(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scale the values about the grey value of each pixel, by factors (N,)."""
    return _blend(images, (images * GREY).sum(1, keepdims=True), factors)


def hue(images: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Change the hue of each pixel by `turns` (N,), in full turns. Keeps saturation and value of HSV (Smith 1978)."""
    value, low = images.max(1), images.min(1)  # (N, H, W)
    chroma = value - low
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    safe = np.where(chroma > 0, chroma, 1)
    sixths = np.select(
        [value == red, value == green], [((green - blue) / safe) % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    sixths = sixths + 6 * turns.reshape(-1, 1, 1)
    # Over the colour wheel, each channel is a trapezoid. The three are a third of a turn apart.
    places = (np.array([5, 3, 1], np.float32).reshape(1, 3, 1, 1) + sixths[:, None]) % 6
    height = np.clip(np.minimum(places, 4 - places), 0, 1)
    return np.clip(value[:, None] - chroma[:, None] * height, 0, 1).astype(np.float32)


def horizontal_flip(images: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Mirror the images for which `flipped` (N,), bool, is true."""
    return np.where(flipped.reshape(-1, 1, 1, 1), images[..., ::-1], images)


def rotation(images: np.ndarray, angles_degrees: np.ndarray) -> np.ndarray:
    """Rotate images counter-clockwise about the centre by angles (N,), bilinearly. Areas from outside are black."""
    count, channels, height, width = images.shape
    angles = np.deg2rad(angles_degrees).astype(np.float32).reshape(-1, 1, 1)
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    source_x = np.cos(angles) * x - np.sin(angles) * y + (width - 1) / 2  # (N, H, W)
    source_y = np.sin(angles) * x + np.cos(angles) * y + (height - 1) / 2
    left, top = np.floor(source_x).astype(int), np.floor(source_y).astype(int)
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 3, 1)  # (N, H+2, W+2, 3)
    each = np.arange(count).reshape(-1, 1, 1)
    turned = np.zeros((count, height, width, channels), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - np.abs(source_x - left - right)) * (1 - np.abs(source_y - top - down))
            row = np.clip(top + down + 1, 0, height + 1)
            column = np.clip(left + right + 1, 0, width + 1)
            turned += framed[each, row, column] * weight[..., None].astype(np.float32)
    return turned.transpose(0, 3, 1, 2)
