"""Checks that results agree with each other: values with the predictions that they follow from, files of one model.

Everything that follows from the predictions of single images is computed again, by the functions of the stages. What
does not follow from them (a calibration error, a UMAP plane) is protected by the digest of its file, and by the digest
of the weights that all results of a model must share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.attacks import alarms, transfer
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import CURVES_DIGEST, FITTED_ON, NATURAL, RESULTS, WEIGHTS_DIGEST
from robustness_study.core.errors import StudyError
from robustness_study.core.files import bytes_digest, read_bytes
from robustness_study.corruptions import SEVERITIES
from robustness_study.results.attack_consistency import Values, of_attack
from robustness_study.results.cell_results import CellResults, Cells, readable

ROUNDING = 1e-5  # of a likelihood that torch computed in float32
SETS = ("train_clean", "val_clean", "val_corrupted", "test_clean", "test_corrupted")  # of every model


def refuse_contradictions(result: CellResults) -> None:
    """Raise StudyError, with file and value, if one model's results contradict each other or their predictions."""
    cell = result.cell
    values = {"evaluate.json": of_evaluate, "attack.json": of_attack, "stress.json": of_stress, "curves.csv": of_curves}
    for name, of_file in values.items():
        command = f"dvc repro -f {RESULTS[name]}@{cell.key} publish@{cell.key}"
        _refuse(cell.published(name), of_file(result), command)
    if result.plane is not None:
        _refuse(cell.plane("plane.json"), of_plane(result), f"dvc repro -f embed@{cell.key} render@{cell.key}")


def refuse_contradicting_shared(cells: Cells, transferred: dict[str, Any], stability: dict[str, Any]) -> None:
    """The same for the results about several models: transfer.json and stability.json."""
    for name, stage, values in (
        ("transfer", "transfer", of_transfer(cells, transferred)),
        ("stability", "stability", of_stability(cells, stability)),
    ):
        path = Path(f"reports/{name}.json")
        with readable(path, f"dvc repro -f {stage} publish_shared"):
            _refuse(path, values, f"dvc repro -f {stage} publish_shared")


def _refuse(path: Path, values: Values, command: str) -> None:
    for name, written, wanted in values:
        if written != wanted and not _almost(written, wanted):
            if isinstance(written, list) and isinstance(wanted, list) and len(written) == len(wanted):
                place = next(place for place, value in enumerate(written) if value != wanted[place])
                name, written, wanted = f"{name}, number {place + 1},", written[place], wanted[place]
            raise StudyError(
                f"{path}: {name} is {_short(written)}, but the other results say {_short(wanted)}; restore the file "
                f"with git, or run `{command}`"
            )


def _almost(one: object, other: object) -> bool:
    """Whether two numbers differ only in the order of a sum."""
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=1e-12)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}…"


def _share(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float((predicted == labels).mean())


def of_evaluate(result: CellResults) -> Values:
    """Accuracies, numbers of images and values of each class, of every set of images."""
    written = result.evaluate
    yield "model", written["model"], result.cell.key
    classes = written["dataset"]["classes"]
    names = [row["set"] for row in written["sets"]]
    yield "sets", sorted(names), sorted({*SETS, *written["details"]})
    yield "natural sets", sorted(written["natural"]), sorted(name for name in names if name.startswith(NATURAL))
    for row in written["sets"]:
        name = row["set"]
        labels, predicted = result.predictions(name)
        yield f"accuracy of {name}", row["accuracy"], _share(predicted, labels)
        yield f"images of {name}", row["images"], len(labels)
        if name == FITTED_ON:  # the fitted temperature cannot make the likelihood of these images lower
            yield f"loss_scaled of {name}", row["loss_scaled"], min(row["loss_scaled"], row["loss"] * (1 + ROUNDING))
        details = written["details"][name]
        for other in ("knn", "probe"):
            text = details.get(f"{other}_predictions")
            accuracy = None if text is None else _share(from_text(text), labels)
            yield f"{other}_accuracy of {name}", row[f"{other}_accuracy"], accuracy
        yield f"classes of {name}", list(details["per_class"]), classes
        for of_class, values in zip(classes, _of_each_class(result.confusion(name)), strict=True):
            for key, value in values.items():
                yield f"{key} of class {of_class!r} in {name}", details["per_class"][of_class][key], value


def _of_each_class(confusion: np.ndarray) -> Iterator[dict[str, float]]:
    """The values of each class as scikit-learn defines them, from a confusion matrix with a row per true label."""
    for correct, actual, predicted in zip(confusion.diagonal(), confusion.sum(1), confusion.sum(0), strict=True):
        yield {
            "precision": float(correct / max(predicted, 1)),
            "recall": float(correct / max(actual, 1)),
            "f1": float(2 * correct / max(actual + predicted, 1)),
            "images": int(actual),
        }


def of_stress(result: CellResults) -> Values:
    """The accuracy under each corruption at each severity, and the labels."""
    written = result.stress
    yield "model", written.model, result.cell.key
    yield WEIGHTS_DIGEST, written.weights, result.evaluate[WEIGHTS_DIGEST]
    labels, of_test = from_text(written.labels), result.predictions("test_clean")[0]
    yield "labels", labels.tolist(), of_test[from_text(written.test_indices)].tolist()
    yield "images", written.images, len(labels)
    yield "temperature", written.temperature, result.evaluate["temperature"]
    yield "severities", written.severities, [0, *SEVERITIES * len(written.by_corruption)]
    yield "corruptions", sorted(["clean", *written.by_corruption]), sorted(written.predictions)
    for name, texts in written.predictions.items():
        yield f"accuracy under {name}", written.accuracies(name), [_share(from_text(text), labels) for text in texts]


def of_curves(result: CellResults) -> Values:
    """The digest that evaluate.json has of the curves."""
    content = read_bytes(result.cell.published("curves.csv"))
    yield "the digest", bytes_digest(content), result.evaluate[CURVES_DIGEST]


def of_plane(result: CellResults) -> Values:
    """The model, its weights, and that the measures are numbers."""
    assert result.plane is not None, "only models of the first seed have a plane"
    yield "model", result.plane["model"], result.cell.key
    yield WEIGHTS_DIGEST, result.plane[WEIGHTS_DIGEST], result.evaluate[WEIGHTS_DIGEST]
    yield "measures", *_measures(result.plane["measures"])


def of_transfer(cells: Cells, written: dict[str, Any]) -> Values:
    """The models and their weights, the accuracy of each pair, and the alarms."""
    first = [row[0] for row in cells.values()]
    yield WEIGHTS_DIGEST, written[WEIGHTS_DIGEST], {each.cell.key: each.evaluate[WEIGHTS_DIGEST] for each in first}
    labels, of_test = from_text(written["labels"]), first[0].predictions("test_clean")[0]
    yield "labels", labels.tolist(), of_test[from_text(written["test_indices"])].tolist()
    yield "images", written["images"], len(labels)
    correct = {}
    for row in written["rows"]:
        pair = row["source"], row["target"]
        predicted = from_text(written["predictions"][" → ".join(pair)])
        correct[pair] = predicted == labels
        yield f"accuracy of {' → '.join(pair)}", row["accuracy"], _share(predicted, labels)
    raised = alarms.by_name(transfer.stronger_than_own(correct, written["epsilon_255"]))
    yield "alarms", sorted(written["alarms"]), sorted(raised)


def of_stability(cells: Cells, written: dict[str, Any]) -> Values:
    """The model and its weights."""
    first: CellResults = next(iter(cells.values()))[0]
    yield "model", written["model"], first.cell.key
    yield WEIGHTS_DIGEST, written[WEIGHTS_DIGEST], first.evaluate[WEIGHTS_DIGEST]
    yield "measures", *_measures(written["measures"])


def _measures(rows: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Rows with a name and a number, as they are and as they must be; without rows, the two differ."""
    numbers = [row["value"] is None or isinstance(row["value"], float) for row in rows]
    return numbers or [False], [True] * max(1, len(numbers))
