"""One model as the page shows it: its published results, and arrays that only the cache of DVC has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustness_study.core.cell import CONFIDENCES_DIGEST, WEIGHTS_DIGEST, model_name
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest, read_npz
from robustness_study.core.fits import refuse_shape
from robustness_study.results.cell_results import CellResults, decoded
from robustness_study.schema.attack import HEADLINE_EPSILONS_255

PLANE = ("clean_taken", "corrupted", "attacked", "test_indices", "attacked_indices")


@dataclass(frozen=True)
class Shown:
    """A model of the first seed, or one from elsewhere. All arrays are in the order of the indices beside them."""

    result: CellResults
    logits: dict[str, np.ndarray]  # of all test images, N×classes, "clean" and "corrupted"
    stressed: dict[str, np.ndarray]  # confidence by corruption, severities×N
    attacked: dict[str, np.ndarray]  # the arrays of data/attacked, by name
    plane: dict[str, np.ndarray] | None  # the arrays of data/embedded, by name; None for a model without features

    @property
    def name(self) -> str:
        """Its name in the report."""
        return model_name(self.result.cell.loss, self.result.cell.train_set)


def read(result: CellResults) -> Shown:
    """Read the arrays of one model. Raises StudyError if a file is missing, broken, or of other weights."""
    cell, severities = result.cell, result.stress.by_corruption
    evaluated = _read(result, cell.evaluated, "test_clean_logits", "test_corrupted_logits")
    attacked = _read(result, cell.attacked, "test_indices", "signs", "confidence_epsilons_255", "confidences")
    stressed = _read(result, cell.stressed, "clean", *severities)
    plane = None if result.plane is None else _read(result, cell.embedded, *PLANE)
    images, count = len(attacked["test_indices"]), result.stress.images
    of_stress = {name: (stressed[name], (len(severities[name]), count)) for name in severities}
    refuse_shape(cell.stressed, **of_stress)
    refuse_shape(
        cell.attacked,
        signs=(attacked["signs"], (images, 3, None, None)),
        confidences=(attacked["confidences"], (len(HEADLINE_EPSILONS_255), images)),
    )
    for name, wanted in (
        ("test_indices", decoded(result.attack["test_indices"])),
        ("confidence_epsilons_255", np.array(HEADLINE_EPSILONS_255)),
    ):
        if not np.array_equal(attacked[name], wanted):
            raise StudyError(
                f"{cell.attacked}: {name} is not that of {cell.published('attack.json')}; run `dvc repro -f "
                f"attack@{cell.key} publish@{cell.key}`"
            )
    for path, digest, published, stage in (
        (cell.stressed, array_digest(*stressed.values()), result.stress.confidences, "stress"),
        (cell.attacked, array_digest(attacked["confidences"]), result.attack[CONFIDENCES_DIGEST], "attack"),
    ):
        if digest != published:
            raise StudyError(
                f"{path} does not hold the confidences of the published results; run `dvc repro -f {stage}@{cell.key} "
                f"publish@{cell.key}`"
            )
    logits = {"clean": evaluated["test_clean_logits"], "corrupted": evaluated["test_corrupted_logits"]}
    return Shown(result, logits, stressed, attacked, plane)


def _read(result: CellResults, path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a file by name, if it was made from the weights of the published results."""
    *arrays, weights = read_npz(path, *names, WEIGHTS_DIGEST)
    result.cell.refuse_other_model(path, weights, result.evaluate[WEIGHTS_DIGEST])
    return dict(zip(names, arrays, strict=True))
