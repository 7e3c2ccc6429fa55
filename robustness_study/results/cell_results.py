"""The results of a cell, read from git, and the headline figures that are made of them.

The names in `METRICS` are an interface: add, never rename. All are plain numbers in [0, 1] (differences
in [−1, 1]), but that a mean over corruptions of which the suite has none is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json
from robustness_study.results.suite import Stress
from robustness_study.schema.attack import HEADLINE_EPSILONS_255

ACCURACIES = ("train_clean", "val_clean", "val_corrupted", "test_clean", "test_corrupted")
METRICS = (
    *ACCURACIES,
    "generalisation_gap",
    "corruption_drop",
    "knn_test_clean",
    "knn_test_corrupted",
    "probe_test_clean",
    "probe_test_corrupted",
    *(f"fgsm_{epsilon}" for epsilon in HEADLINE_EPSILONS_255),
    "suite_mean",
    "suite_unseen_mean",
)
SETTINGS = ("steps", "looked_at_every", "restarts", "queries", "neighbours", "positions")  # of attacks


@dataclass(frozen=True)
class CellResults:
    """What the stages wrote of one model."""

    cell: Cell
    evaluate: dict[str, Any]
    attack: dict[str, Any]
    stress: Stress
    curves: dict[str, list[float]]
    embed: dict[str, Any] | None  # of the first seed's models alone

    def row(self, name: str) -> dict[str, Any]:
        """The figures of one set of images, such as `test_clean`."""
        return next(row for row in self.evaluate["sets"] if row["set"] == name)

    def confusion(self, name: str) -> np.ndarray:
        """The confusion matrix of one set, classes × classes, row = label."""
        return np.array(self.evaluate["details"][name]["confusion"])

    def metrics(self) -> dict[str, float | None]:
        """The headline figures, in the order of `METRICS`."""
        accuracy = {name: self.row(name)["accuracy"] for name in ACCURACIES}
        groups = self.stress.groups()
        robust = {row["epsilon_255"]: row["accuracy"] for row in self.attack["ladder"]}
        values = {
            **accuracy,
            "generalisation_gap": accuracy["train_clean"] - accuracy["test_clean"],
            "corruption_drop": accuracy["test_clean"] - accuracy["test_corrupted"],
            "knn_test_clean": self.row("test_clean")["knn_accuracy"],
            "knn_test_corrupted": self.row("test_corrupted")["knn_accuracy"],
            "probe_test_clean": self.row("test_clean")["probe_accuracy"],
            "probe_test_corrupted": self.row("test_corrupted")["probe_accuracy"],
            **{f"fgsm_{epsilon}": robust[epsilon] for epsilon in HEADLINE_EPSILONS_255},
            "suite_mean": self.stress.mean(groups["main"]),
            "suite_unseen_mean": self.stress.mean(groups["unseen"]),
        }
        return {name: values[name] for name in METRICS}

    def images(self, metric: str) -> int | None:
        """How many images an accuracy is of; None for a difference of two."""
        if is_attack(metric):
            return len(self.attacked(metric)[0])
        if metric.startswith("suite_"):
            return self.stress.images
        if metric.startswith("recall_"):
            _, label, name = metric.split("_", 2)
            return int((self.predictions(name)[0] == int(label)).sum())
        name = metric.removeprefix("knn_").removeprefix("probe_")
        return self.row(name)["images"] if name in ACCURACIES else None

    def attacked(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predicted labels, N each, under an attack at an epsilon, such as `fgsm_2` or `pgd_4`."""
        name, _, epsilon_255 = metric.rpartition("_")
        found = self.attack["attacks"][name]
        labels = from_text(self.attack["labels"])[from_text(found["positions"])]
        return labels, from_text(found["predictions"][epsilon_255])

    def predictions(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predicted labels, N each, of one set, in the order of the split's indices."""
        labels = from_text(self.evaluate["labels"][name.split("_")[0]])
        return labels, from_text(self.evaluate["details"][name]["predictions"])


Cells = dict[tuple[str, str], list[CellResults]]  # (loss, training set) → one entry per seed


def is_attack(metric: str) -> bool:
    """Whether a figure is an accuracy under attack: its name ends with an epsilon."""
    return metric.rpartition("_")[2].isdigit()


def read(cell: Cell, seen: Sequence[str], embedded: bool = False) -> CellResults:
    """Read a cell, with its embedding if it has one; `seen` names corruptions akin to what training does to images.

    StudyError, naming the cell and what to type, if a result is missing.
    """
    wanted = {"curves.csv": "train", "evaluate.json": "evaluate", "attack.json": "attack", "stress.json": "stress"}
    for name, stage in {**wanted, **({"embed.json": "embed", "embed.png": "embed"} if embedded else {})}.items():
        if not cell.result(name).exists():
            raise StudyError(
                f"the cell {cell.key} is missing ({cell.result(name)}); "
                f"`dvc repro {stage}@{cell.key}` makes it, or take it out of params.yaml"
            )
    return CellResults(
        cell,
        read_json(cell.result("evaluate.json")),
        read_json(cell.result("attack.json")),
        Stress(read_json(cell.result("stress.json")), seen),
        read_curves(cell),
        read_json(cell.result("embed.json")) if embedded else None,
    )


def read_curves(cell: Cell) -> dict[str, list[float]]:
    """The columns of a cell's curves; StudyError if the file is broken."""
    path = cell.result("curves.csv")
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        columns = zip(*([float(value) for value in line.split(",")] for line in lines), strict=True)
        return dict(zip(header.split(","), map(list, columns), strict=True))
    except ValueError:
        raise StudyError(f"{path} is broken; run `dvc repro train@{cell.key}`") from None


def refuse_incomparable(result: CellResults, first: CellResults) -> None:
    """StudyError if two cells differ in what every model of one comparison must share."""
    conditions = [
        {
            "dataset": each.evaluate["dataset"],
            "recipe": each.evaluate["recipe"],
            "numbers of images": {row["set"].split("_")[0]: row["images"] for row in each.evaluate["sets"]},
            "test images": each.evaluate["labels"]["test"],
            "k of the nearest neighbours": each.evaluate["knn_neighbours"],
            "flip test-time augmentation": each.row("test_clean")["flip_accuracy"] is not None,
            "attacked images": each.attack["test_indices"],
            "stressed images": each.stress.test_indices,
            "the suite's corruptions": sorted(each.stress.by_corruption),
            "attack's epsilons": [row["epsilon_255"] for row in each.attack["ladder"]],
            "attacks": {
                name: {
                    **{setting: found[setting] for setting in SETTINGS if setting in found},
                    "epsilons": list(found["predictions"]),
                }
                for name, found in each.attack["attacks"].items()
            },
        }
        for each in (result, first)
    ]
    for what, value in conditions[0].items():
        if value != conditions[1][what]:
            raise StudyError(
                f"{result.cell.key} and {first.cell.key} differ in {what}, so they do not compare; "
                "run `dvc repro` for both"
            )


def mean_over_seeds(results: list[CellResults]) -> dict[str, float | None]:
    """The mean of each headline figure over the seeds; None if a seed has none."""
    return {name: mean([result.metrics()[name] for result in results]) for name in METRICS}


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of figures, None if one of them is."""
    figures = [value for value in values if value is not None]
    return float(np.mean(figures)) if len(figures) == len(values) else None
