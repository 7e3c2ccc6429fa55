"""A cell is one model of the comparison: loss × training set × seed. This file gives its name and its files.

Stages write the files of a cell into folders that DVC caches and git ignores. The stage `publish` copies the small
results into `reports/cells/`, which is in git. So `compare` and `headline` also run in a fresh clone without DVC's
cache.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from robustness_study.core.errors import StudyError

# The small results of a cell → the stage that writes each.
RESULTS = {"curves.csv": "train", "evaluate.json": "evaluate", "attack.json": "attack", "stress.json": "stress"}
TEMPERATURE = "temperature.json"  # of `evaluate` for `stress`; no other setting of `evaluate` re-runs `stress`

# Keys in the results of a cell that tie it to its model, its curves and the images that it was scored on.
WEIGHTS_DIGEST = "weights_sha256"
CURVES_DIGEST = "curves_sha256"
IMAGES_DIGEST = "images_sha256"
CONFIDENCES_DIGEST = "confidences_sha256"  # of the arrays for the report that DVC caches

# The images that the temperature is fitted on. Clean ones, for every model: who uses a model has such images, and
# cannot know which corruption will come. So the calibration under a corruption shows what is left of the correction
# (Ovadia et al. 2019, arXiv 1906.02530).
FITTED_ON = "val_clean"
NATURAL = "natural_"  # begins the names of sets of images that others collected, such as `natural_cifar10_1`


def split_of(name: str) -> str:
    """The split that a set of images is of, for example `test` for `test_clean`. A natural set is a split of its own.

    Sets of one split have the same labels.
    """
    return name if name.startswith(NATURAL) else name.split("_")[0]


def model_name(loss: str, train_set: str) -> str:
    """What reports call the models of one loss and training set. A model from elsewhere has no training set."""
    return f"{loss}, {train_set}" if train_set else loss


@dataclass(frozen=True, order=True)
class Cell:
    """One model of the study, with the paths of its files."""

    loss: str
    train_set: str
    seed: int

    @property
    def key(self) -> str:
        """The name of the cell in DVC's stage names, for example `angular-clean-0`."""
        return f"{self.loss}-{self.train_set}-{self.seed}"

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return Path("models") / self.key

    @property
    def evaluated(self) -> Path:
        """The file with logits and features for every set of images."""
        return Path("data/evaluated") / f"{self.key}.npz"

    @property
    def attacked(self) -> Path:
        """The file with the signs of the gradients, and features and confidences of attacked images."""
        return Path("data/attacked") / f"{self.key}.npz"

    @property
    def stressed(self) -> Path:
        """The file with the confidences of the predictions under every corruption, for the report."""
        return Path("data/stressed") / f"{self.key}.npz"

    @property
    def embedded(self) -> Path:
        """The file with the points of the UMAP plane. A JSON file next to it says how reliable the plane is."""
        return Path("data/embedded") / f"{self.key}.npz"

    def result(self, name: str) -> Path:
        """The path where a stage writes a small result such as `evaluate.json`. DVC caches it; it is not in git."""
        return Path("data/cells") / self.key / name

    def published(self, name: str) -> Path:
        """The path of the same result in git."""
        return Path("reports/cells") / self.loss / f"{self.train_set}-{self.seed}" / name

    def plane(self, name: str) -> Path:
        """The path in git of `plane.png` (picture of the UMAP plane) or `plane.json` (how reliable the plane is)."""
        return Path("reports/planes") / self.key / name

    def refuse_other_model(self, path: Path, found: object, wanted: str) -> None:
        """Raise StudyError unless the digest of weights in the file at `path` is the wanted one."""
        if str(found) != wanted:
            raise StudyError(
                f"{path} was made from other weights than those in {self.model}; run `dvc repro -f evaluate@{self.key} "
                f"attack@{self.key}`"
            )

    @classmethod
    def from_arguments(cls, description: str | None) -> Cell:
        """The cell given by --loss, --train-set and --seed on the command line."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--loss", required=True)
        parser.add_argument("--train-set", required=True)
        parser.add_argument("--seed", type=int, required=True)
        return cls(**vars(parser.parse_args()))
