"""A cell of the study: one loss, one training set, one seed. Its name, its files, its arrays as text.

Results that `compare` and `headline` read are small and in git, under `reports/cells/LOSS/`, so that
both run on a fresh clone without DVC's cache, and a loss's headline depends on that loss's folder alone.
"""

from __future__ import annotations

import argparse
import base64
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, order=True)
class Cell:
    """One model of the study and where its files are."""

    loss: str
    train_set: str
    seed: int

    @property
    def key(self) -> str:
        """The name that DVC gives its stages, as in `angular-clean-0`."""
        return f"{self.loss}-{self.train_set}-{self.seed}"

    @property
    def model(self) -> Path:
        """The trained model's folder."""
        return Path("models") / self.key

    def result(self, name: str) -> Path:
        """A small result that is in git, such as `evaluate.json`."""
        return Path("reports/cells") / self.loss / f"{self.train_set}-{self.seed}" / name

    @classmethod
    def from_arguments(cls, description: str | None) -> Cell:
        """The cell that --loss, --train-set and --seed name on the command line."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--loss", required=True)
        parser.add_argument("--train-set", required=True)
        parser.add_argument("--seed", type=int, required=True)
        return cls(**vars(parser.parse_args()))


def to_text(array: np.ndarray) -> str:
    """A one-dimensional array of small whole numbers, at most 65,535, as compressed base64."""
    values = np.asarray(array)
    whole = values.ndim == 1 and (not values.size or values.dtype.kind in "biu")
    if not whole or (values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint16).max)):
        raise ValueError("only a one-dimensional array of whole numbers from 0 to 65,535 can be written as text")
    kind = np.uint8 if not values.size or values.max() <= np.iinfo(np.uint8).max else np.dtype("<u2")
    packed = zlib.compress(values.astype(kind).tobytes(), 9)
    return f"{np.dtype(kind).str}:{base64.b64encode(packed).decode()}"


def from_text(text: str) -> np.ndarray:
    """The array that `to_text` wrote."""
    kind, _, body = text.rpartition(":")
    return np.frombuffer(zlib.decompress(base64.b64decode(body)), np.dtype(kind))
