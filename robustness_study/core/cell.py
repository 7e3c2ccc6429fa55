"""A cell of the study: one loss, one training set, one seed. Its name, and its files.

Stages write a cell's files into folders that git ignores and DVC caches. The stage `publish` copies the small results
into `reports/cells/`, which is in git, so that `compare` and `headline` run on a fresh clone without DVC's cache.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

# A cell's small results, and the stage that writes each.
RESULTS = {"curves.csv": "train", "evaluate.json": "evaluate", "attack.json": "attack", "stress.json": "stress"}


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

    @property
    def evaluated(self) -> Path:
        """Logits and features of every set of images."""
        return Path("data/evaluated") / f"{self.key}.npz"

    @property
    def attacked(self) -> Path:
        """The gradient's signs, and features of attacked images."""
        return Path("data/attacked") / f"{self.key}.npz"

    @property
    def embedded(self) -> Path:
        """The points of the UMAP plane; beside it, as JSON, how far to trust them."""
        return Path("data/embedded") / f"{self.key}.npz"

    def result(self, name: str) -> Path:
        """A small result where its stage writes it, such as `evaluate.json`: cached by DVC, not in git."""
        return Path("data/cells") / self.key / name

    def published(self, name: str) -> Path:
        """The same result in git."""
        return Path("reports/cells") / self.loss / f"{self.train_set}-{self.seed}" / name

    def plane(self, name: str) -> Path:
        """`plane.png`, the picture of the UMAP plane, or `plane.json`, how far to trust it; in git."""
        return Path("reports/planes") / self.key / name

    @classmethod
    def from_arguments(cls, description: str | None) -> Cell:
        """The cell that --loss, --train-set and --seed name on the command line."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--loss", required=True)
        parser.add_argument("--train-set", required=True)
        parser.add_argument("--seed", type=int, required=True)
        return cls(**vars(parser.parse_args()))
