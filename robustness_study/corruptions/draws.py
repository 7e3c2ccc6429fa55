"""Random numbers for a batch of images: each image has its own random stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor

from robustness_study.core.seeds import derive_seed


class Key(ISeedSequence):
    """Gives Philox its key directly. `Philox(key=…)` also reads entropy that it does not use, which takes most time."""

    def __init__(self, words: np.ndarray) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        """The two words of the key, 64 bits each. Philox asks for exactly these."""
        assert n_words == len(self.words) and np.dtype(dtype) == self.words.dtype
        return self.words


def generators(indices: np.ndarray, seed: int, *names: str | int) -> list[np.random.Generator]:
    """One generator for each index, equal to those of `seeds.streams`, in a third of the time.

    Only corruptions need this speed, because they make hundreds of thousands of generators. Raises ValueError if an
    index is negative.
    """
    if np.any(np.asarray(indices) < 0):
        raise ValueError(f"index {min(indices)} is negative; the index of an image must be 0 or more")
    words = np.empty((len(indices), 2), np.uint64)
    words[:, 0], words[:, 1] = indices, derive_seed(seed, *names)
    return [np.random.Generator(np.random.Philox(Key(key))) for key in words]  # type: ignore[arg-type]  # numpy's stubs allow its own SeedSequence alone


class Draws:
    """Random numbers for N images, as float32 or int64 tensors with N first. Each call continues the streams."""

    def __init__(
        self, indices: np.ndarray, seed: int, split: str, corruption: str, severity: int, device: str = "cpu"
    ) -> None:
        self.indices, self.seed, self.split, self.device = indices, seed, split, device
        self._key = (seed, split, corruption, severity)
        self._rngs: list[np.random.Generator] | None = None

    @property
    def rngs(self) -> list[np.random.Generator]:
        """The generators of the images, made at the first call."""
        if self._rngs is None:
            self._rngs = generators(self.indices, *self._key)
        return self._rngs

    def _floats(self, draw: Callable[..., Any], shape: tuple[int, ...]) -> Tensor:
        """What `draw`, a method of numpy's generators, gives for each image: float32 N×`shape`, written in place."""
        out = np.empty((len(self.indices), math.prod(shape)), np.float32)
        for rng, into in zip(self.rngs, out, strict=True):
            draw(rng, dtype=np.float32, out=into)
        return torch.from_numpy(out.reshape(len(out), *shape)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32 N×`shape`."""
        return self._floats(np.random.Generator.standard_normal, shape)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers in [low, high), float32 N×`shape`."""
        return self._floats(np.random.Generator.random, shape).mul_(high - low).add_(low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform whole numbers in [low, high), int64 N×`shape`."""
        return torch.from_numpy(np.stack([rng.integers(low, high, shape) for rng in self.rngs])).to(self.device)

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson counts with the given rates, float32 in the shape of `rates`, N×…."""
        out = np.empty(rates.shape, np.float32)
        for rng, rate, into in zip(self.rngs, rates.cpu().numpy(), out, strict=True):
            into[...] = rng.poisson(rate)
        return torch.from_numpy(out).to(self.device)
