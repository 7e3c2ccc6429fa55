"""Reads the results of one model from the files in git."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustness_study.core.array_text import from_text
from robustness_study.core.cell import RESULTS, Cell, split_of
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_bytes, read_record
from robustness_study.results.seen_corruptions import similar_to_dataset
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

    def has(self, name: str) -> bool:
        """Whether the model was scored on this set of images; not every study has natural sets."""
        return name in self.evaluate["details"]

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
        labels = decoded(self.evaluate["labels"][split_of(name)])
        return labels, decoded(self.evaluate["details"][name]["predictions"])


Cells = dict[tuple[str, str], list[CellResults]]  # (loss, training set) → one entry per seed


def whole(cell: Cell) -> AbstractContextManager[None]:
    """Raises StudyError if what the `with` block reads is not in the cell's files, or is not of the right form."""
    return readable(f"a file in {cell.published('evaluate.json').parent}", f"dvc repro -f publish@{cell.key}")


@contextmanager
def readable(what: str | Path, command: str) -> Iterator[None]:
    """The same for the file or files that `what` names; `command` makes them again."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise StudyError(
            f"{what} was changed or is of another version of the code ({type(error).__name__}: {error}); restore it "
            f"with git, or run `{command}`"
        ) from None


def read(cell: Cell, seen: Sequence[str], embedded: bool = False) -> CellResults:
    """Reads one model; with its UMAP plane if `embedded`.

    `seen` names the corruptions that are similar to what training does to images. Those similar to what was done to the
    dataset are added. Raises StudyError if a result is missing; the message names the cell and the command that makes
    it.
    """
    wanted = {cell.published(name): f"{stage}@{cell.key} publish@{cell.key}" for name, stage in RESULTS.items()}
    if embedded:
        wanted |= {cell.plane(name): f"render@{cell.key}" for name in ("plane.json", "plane.png")}
    for path, stages in wanted.items():
        if not path.exists():
            raise StudyError(
                f"the cell {cell.key} is missing ({path}); run `dvc repro {stages}`, or remove it from params.yaml"
            )
    stressed, evaluate = read_record(cell.published("stress.json")), read_record(cell.published("evaluate.json"))
    with whole(cell):
        stress = Stress(stressed, [*seen, *similar_to_dataset(evaluate["dataset"])])
    return CellResults(
        cell,
        evaluate,
        read_record(cell.published("attack.json")),
        stress,
        read_curves(cell),
        read_record(cell.plane("plane.json")) if embedded else None,
    )


def read_curves(cell: Cell) -> dict[str, list[float]]:
    """The columns of a cell's curves.csv: name → one value per epoch. Raises StudyError if the file is broken."""
    path = cell.published("curves.csv")
    try:
        columns = pd.read_csv(io.BytesIO(read_bytes(path)), dtype=float).to_dict("list")
    except (ValueError, UnicodeDecodeError):  # pandas' own errors are ValueErrors
        columns = {}
    if not columns or any(math.isnan(value) for values in columns.values() for value in values):
        raise StudyError(f"{path} is broken; restore it with git, or run `dvc repro -f publish@{cell.key}`")
    return {str(name): values for name, values in columns.items()}
