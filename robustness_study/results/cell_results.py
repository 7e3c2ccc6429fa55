"""Reads the results of every model from the files in git.

Raises StudyError if a model is missing, or if models cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from robustness_study.attacks import catalogue
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import RESULTS, Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json
from robustness_study.results.suite import Stress

decoded = lru_cache(maxsize=256)(from_text)  # for the recall of 256 classes, the same text is read thousands of times


@dataclass(frozen=True)
class CellResults:
    """The results of one model."""

    cell: Cell
    evaluate: dict[str, Any]
    attack: dict[str, Any]
    stress: Stress
    curves: dict[str, list[float]]
    plane: dict[str, Any] | None  # only for the models of the first seed

    def row(self, name: str) -> dict[str, Any]:
        """The results on one set of images, such as `test_clean`."""
        return next(row for row in self.evaluate["sets"] if row["set"] == name)

    def confusion(self, name: str) -> np.ndarray:
        """The confusion matrix of one set of images, classes × classes; a row per true label."""
        labels, predicted = (array.astype(np.int64) for array in self.predictions(name))
        classes = len(self.evaluate["dataset"]["classes"])
        return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)

    def attacked(self, attack: str, epsilon_255: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predicted labels, N each, under an attack. `attack` is its name in attack.json, such as `pgd`."""
        found = self.attack["attacks"][attack]
        labels = decoded(self.attack["labels"])[decoded(found["positions"])]
        return labels, decoded(found["predictions"][str(epsilon_255)])

    def predictions(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predicted labels, N each, of one set of images, in the order of the split's indices."""
        labels = decoded(self.evaluate["labels"][name.split("_")[0]])
        return labels, decoded(self.evaluate["details"][name]["predictions"])


Cells = dict[tuple[str, str], list[CellResults]]  # (loss, training set) → one entry per seed


def read_cells(
    losses: list[str], train_sets: list[str], seeds: list[int], seen: Sequence[str], planes: bool = True
) -> Cells:
    """Reads every model of the study. If `planes` is true, the models of the first seed have their UMAP planes.

    `seen` names the corruptions that are similar to what training does to images. Raises StudyError if a model is
    missing or cannot be compared with the others.
    """
    cells = {
        (loss, train_set): [
            read(Cell(loss, train_set, seed), seen, embedded=planes and seed == seeds[0]) for seed in seeds
        ]
        for loss in losses
        for train_set in train_sets
    }
    every = [result for row in cells.values() for result in row]
    for result in every:
        with whole(result.cell):
            refuse_incomparable(result, every[0])
            refuse_another_model(result)
    return cells


@contextmanager
def whole(cell: Cell) -> Iterator[None]:
    """Raises StudyError if what the `with` block reads is not in the cell's files, or is not of the right form."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        folder = cell.published("evaluate.json").parent
        raise StudyError(
            f"a file in {folder} was changed or is of another version of the code ({type(error).__name__}: {error}); "
            f"restore it with git, or run `dvc repro -f publish@{cell.key}`"
        ) from None


def read(cell: Cell, seen: Sequence[str], embedded: bool = False) -> CellResults:
    """Reads one model; with its UMAP plane if `embedded`.

    `seen` names the corruptions that are similar to what training does to images. Raises StudyError if a result is
    missing; the message names the cell and the command that makes it.
    """
    wanted = {cell.published(name): f"{stage}@{cell.key} publish@{cell.key}" for name, stage in RESULTS.items()}
    if embedded:
        wanted |= {cell.plane(name): f"render@{cell.key}" for name in ("plane.json", "plane.png")}
    for path, stages in wanted.items():
        if not path.exists():
            raise StudyError(
                f"the cell {cell.key} is missing ({path}); run `dvc repro {stages}`, or remove it from params.yaml"
            )
    stressed = read_json(cell.published("stress.json"))
    with whole(cell):
        stress = Stress(stressed, seen)
    return CellResults(
        cell,
        read_json(cell.published("evaluate.json")),
        read_json(cell.published("attack.json")),
        stress,
        read_curves(cell),
        read_json(cell.plane("plane.json")) if embedded else None,
    )


def read_curves(cell: Cell) -> dict[str, list[float]]:
    """The columns of a cell's curves.csv: name → one value per epoch. Raises StudyError if the file is broken."""
    path = cell.published("curves.csv")
    try:
        columns = pd.read_csv(path, dtype=float).to_dict("list")
    except (ValueError, UnicodeDecodeError):  # pandas' own errors are ValueErrors
        columns = {}
    if not columns or any(math.isnan(value) for values in columns.values() for value in values):
        raise StudyError(f"{path} is broken; restore it with git, or run `dvc repro -f publish@{cell.key}`")
    return {str(name): values for name, values in columns.items()}


def refuse_another_model(result: CellResults) -> None:
    """Raises StudyError if attack.json and evaluate.json are results of different models.

    At epsilon 0, the attacks on the model and on its nearest neighbours must give the predictions of `evaluate`.
    """
    _, clean = result.predictions("test_clean")
    chosen = from_text(result.attack["test_indices"])
    differ = [result.attacked("fgsm", 0)[1] != clean[chosen]]
    if "knn_fgsm" in result.attack["attacks"]:
        of_neighbours = from_text(result.evaluate["details"]["test_clean"]["knn_predictions"])[chosen]
        positions = from_text(result.attack["attacks"]["knn_fgsm"]["positions"])
        differ.append(result.attacked("knn_fgsm", 0)[1] != of_neighbours[positions])
    # Rounding in other batches or on another device changes few predictions; another model changes many.
    if any(each.sum() > max(1, 0.01 * len(each)) for each in differ):
        raise StudyError(
            f"the attack on {result.cell.key} at epsilon 0 and evaluate give different predictions; "
            f"run `dvc repro -f evaluate@{result.cell.key} attack@{result.cell.key}`"
        )


def refuse_incomparable(result: CellResults, first: CellResults) -> None:
    """Raises StudyError if two cells differ in something that all models of a comparison must have in common."""
    conditions = [
        {
            "dataset": each.evaluate["dataset"],
            "recipe": each.evaluate["recipe"],
            "numbers of images": {row["set"].split("_")[0]: row["images"] for row in each.evaluate["sets"]},
            "test images": each.evaluate["labels"]["test"],
            "k of the nearest neighbours": each.evaluate["knn_neighbours"],
            "flip test-time augmentation": each.row("test_clean")["flip_accuracy"] is not None,
            "attacked images": each.attack["test_indices"],
            "the suite's images": each.stress.test_indices,
            "the suite's corruptions": sorted(each.stress.by_corruption),
            "attack's epsilons": [row["epsilon_255"] for row in each.attack["ladder"]],
            "attacks": {
                name: {
                    **{setting: found[setting] for setting in catalogue.must_be_equal(name) if setting in found},
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
                f"{result.cell.key} and {first.cell.key} differ in {what}, so they cannot be compared; "
                "run `dvc repro` for both"
            )
