"""The suite's tables, as pandas frames: what models keep of their accuracy under corruptions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.corruptions import SEVERITIES
from robustness_study.results import intervals
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Show
from robustness_study.results.suite import corruption_error

REFERENCE = ("cross_entropy", "clean")  # the model that corruption errors are relative to
ERRORS_OF = ("main", "seen", "unseen")
NOT_WORSE = "under one of the corruptions the reference is no worse than on clean images: there is nothing to divide by"
NO_REFERENCE = "no cross-entropy model trained on clean images is in the study to divide by"


def means_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Mean accuracy and (relative) mCE: a column per loss and training set.

    A row per group of CIFAR-10-C's corruptions, and one for each corruption that is not of CIFAR-10-C.
    """
    references = cells.get(REFERENCE)
    columns = {}
    for (loss, train_set), results in cells.items():
        stress = results[0].stress
        groups = stress.groups()
        rows = {"clean": ["clean"], **groups, **{name: [name] for name in stress.others()}}
        column = {
            name.replace("_", " "): show(intervals.figure_of(results, f"suite_of_{name}") if names else {"mean": None})
            for name, names in rows.items()
        }
        for title, relative in (("mCE", False), ("relative mCE", True)):
            for group in ERRORS_OF:
                suffix = "" if group == "main" else f", {group}"
                errors = errors_of(results, references, groups[group], relative)
                column[title + suffix] = show(intervals.figure_of_scalars(errors) if errors else {"mean": None})
        columns[f"{loss}, {train_set}"] = column
    return pd.DataFrame(columns).rename_axis("corruptions")


def errors_of(
    results: list[CellResults], references: list[CellResults] | None, names: list[str], relative: bool
) -> list[float] | None:
    """(Relative) mCE of each seed, against the reference of the same seed; None where one cannot be given."""
    if references is None or not names:
        return None
    pairs = zip((result.stress for result in results), (other.stress for other in references), strict=True)
    errors = [corruption_error(*pair, names, relative) for pair in pairs]
    found = [error for error in errors if error is not None]
    return found if len(found) == len(errors) else None


def error_of(
    results: list[CellResults], references: list[CellResults] | None, names: list[str], relative: bool
) -> dict[str, Any]:
    """(Relative) mCE with its spread over seeds, its mean as `value`: None with a `reason` where it cannot be given."""
    if references is None:
        return {"value": None, "reason": NO_REFERENCE}
    if not names:
        return {"value": None, "reason": "the suite has no such corruption"}
    errors = errors_of(results, references, names, relative)
    if not errors:
        return {"value": None, "reason": NOT_WORSE}
    figure = intervals.figure_of_scalars(errors)
    return {"value": figure.pop("mean"), "reason": None, **figure}


def corruption_errors(cells: Cells) -> dict[str, Any]:
    """For each loss and training set: (relative) mCE over the 15, over those akin to training, and over the rest."""
    references, found = cells.get(REFERENCE), {}
    for (loss, train_set), results in cells.items():
        groups = results[0].stress.groups()
        found[f"{loss}, {train_set}"] = {
            title: {group: error_of(results, references, groups[group], relative) for group in ERRORS_OF}
            for title, relative in (("mCE", False), ("relative mCE", True))
        }
    return found


def every_accuracy(cells: Cells) -> pd.DataFrame:
    """With its spread, long: a row per loss, training set, corruption and severity."""
    rows: list[dict[str, Any]] = []
    for (loss, train_set), results in cells.items():
        stress = results[0].stress
        levels = {("clean", 0): "suite_of_clean"}
        for name, of_severities in stress.by_corruption.items():
            levels |= {(name, place): f"suite_of_{name}@{place}" for place in range(1, len(of_severities) + 1)}
        for (corruption, severity), metric in levels.items():
            figure = intervals.figure_of(results, metric)
            low, high = figure["interval_95"]
            place = {"loss": loss, "train_set": train_set, "corruption": corruption, "severity": severity}
            of_figure = {"accuracy": figure["mean"], "std": figure["std"], "n": figure["n"], "images": stress.images}
            rows.append({**place, **of_figure, "lower_95": low, "upper_95": high})
    return pd.DataFrame(rows)


def by_severity(results: list[CellResults], group: str) -> list[tuple[float, float, float]]:
    """A group's mean accuracy at severities 0 (clean) to 5, each with the ends of its 95 % interval."""
    metrics = ["suite_of_clean", *(f"suite_of_{group}@{severity}" for severity in SEVERITIES)]
    return [intervals.mean_and_interval(intervals.figure_of(results, metric)) for metric in metrics]
