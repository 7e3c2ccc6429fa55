"""Random images with the statistics of photographs, for tests that need no dataset."""

from __future__ import annotations

import numpy as np


def natural_images(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 N×H×H×3 whose spectrum falls as one over frequency, with correlated colours (Field 1987)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    fall = 1 / np.maximum(frequency, 1 / side)
    spectrum = rng.standard_normal((count, 4, side, side // 2 + 1, 2)) @ np.array([1, 1j])
    layers = np.fft.irfft2(spectrum * fall, (side, side))
    layers /= layers.std((2, 3), keepdims=True)
    channels = layers[:, :1] + 0.4 * layers[:, 1:]
    level = rng.uniform(80, 170, (count, 1, 1, 1))
    return np.clip(level + 45 * channels, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
