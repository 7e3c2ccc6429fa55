"""A cell of the study: one loss, one training set, one seed. Its name, and its files.

Results that `compare` and `headline` read are small and in git, under `reports/cells/LOSS/`, so that
both run on a fresh clone without DVC's cache, and a loss's headline depends on that loss's folder alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


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
