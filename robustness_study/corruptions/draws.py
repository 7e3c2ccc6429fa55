"""What a batch draws: for each image from a stream of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor

from robustness_study.core.seeds import derive_seed


class Key(ISeedSequence):
    """Philox's key as it is. `Philox(key=…)` also asks the system for entropy, in vain, and for most of its time."""

    def __init__(self, words: np.ndarray) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        """The key's two words of 64 bits, which are what Philox asks for."""
        assert n_words == len(self.words) and np.dtype(dtype) == self.words.dtype
        return self.words


def generators(indices: np.ndarray, seed: int, *names: str | int) -> list[np.random.Generator]:
    """What `seeds.streams` makes, a generator for each index (0 or more), in a third of the time.

    Here and not there, as corruptions alone make them by the hundred thousand.
    """
    if np.any(np.asarray(indices) < 0):
        raise ValueError(f"index {min(indices)} is negative; an image's index is 0 or more")
    words = np.empty((len(indices), 2), np.uint64)
    words[:, 0], words[:, 1] = indices, derive_seed(seed, *names)
    return [np.random.Generator(np.random.Philox(Key(key))) for key in words]  # type: ignore[arg-type]  # numpy's stubs allow its own SeedSequence alone


class Draws:
    """Random numbers of N images, as float32 or int64 tensors with N first; one call goes on where the last ended."""

    def __init__(
        self, indices: np.ndarray, seed: int, split: str, corruption: str, severity: int, device: str = "cpu"
    ) -> None:
        self.indices, self.seed, self.split, self.device = indices, seed, split, device
        self._key = (seed, split, corruption, severity)
        self._rngs: list[np.random.Generator] | None = None

    @property
    def rngs(self) -> list[np.random.Generator]:
        """The images' generators, made when the first number is asked for."""
        if self._rngs is None:
            self._rngs = generators(self.indices, *self._key)
        return self._rngs

    def _gather(self, drawn: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(drawn)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return self._gather([rng.standard_normal(shape, np.float32) for rng in self.rngs])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in [low, high)."""
        return low + (high - low) * self._gather([rng.random(shape, np.float32) for rng in self.rngs])

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers in [low, high)."""
        return self._gather([rng.integers(low, high, shape) for rng in self.rngs])

    def poisson(self, rates: Tensor) -> Tensor:
        """Counts of these rates, one of N×… for each image."""
        pairs = zip(self.rngs, rates.cpu().numpy(), strict=True)
        return self._gather([rng.poisson(rate).astype(np.float32) for rng, rate in pairs])
