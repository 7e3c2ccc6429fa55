"""The suite's tables, as pandas frames: accuracies and corruption errors."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.corruptions import SEVERITIES
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Summary, mean_and_interval, summarise, summarise_values
from robustness_study.results.metrics import under_corruptions
from robustness_study.results.suite import corruption_error

REFERENCE = ("cross_entropy", "clean")  # the model that corruption errors are relative to
ERRORS_OF = ("main", "seen", "unseen")
NOT_WORSE = (
    "under one of the corruptions the reference model is no worse than on clean images, so the divisor is not positive"
)
NO_REFERENCE = "no cross-entropy model trained on clean images is in the study, and mCE is relative to that model"
LABELS = {
    "seen": "similar to training",
    "unseen": "unlike training",
}  # what the report calls groups; files keep the names


def means_table(cells: Cells) -> pd.DataFrame:
    """Mean accuracy and (relative) mCE: a column per loss and training set.

    There is a row for each group of CIFAR-10-C's corruptions, and one for each corruption that is not in CIFAR-10-C.
    """
    errors = corruption_errors(cells)
    columns = {}
    for (loss, train_set), results in cells.items():
        stress = results[0].stress
        rows = {"clean": ["clean"], **stress.groups(), **{name: [name] for name in stress.others()}}
        column: dict[str, Summary] = {
            name.replace("_", " "): summarise(results, under_corruptions(name)) if names else {"mean": None}
            for name, names in rows.items()
        }
        for title, of_groups in errors[f"{loss}, {train_set}"].items():
            for group, error in of_groups.items():
                suffix = "" if group == "main" else f", {group}"
                column[title + suffix] = as_summary(error)
        columns[f"{loss}, {train_set}"] = column
    return pd.DataFrame(columns).rename_axis("corruptions")


def labelled(means: pd.DataFrame) -> pd.DataFrame:
    """The table of `means_table` with the row labels of the report: "unlike training" for the group `unseen`, …"""

    def label(row: str) -> str:
        head, comma, group = row.rpartition(", ")
        return head + comma + LABELS.get(group, group)

    return means.rename(index=label)


def as_summary(error: dict[str, Any]) -> Summary:
    """An entry of `corruption_errors` as a `Summary`."""
    if error["value"] is None:
        return {"mean": None}
    return {"mean": error["value"], **{key: found for key, found in error.items() if key not in ("value", "reason")}}


def error_of(
    results: list[CellResults], references: list[CellResults] | None, names: list[str], relative: bool
) -> dict[str, Any]:
    """(Relative) mCE over the corruptions `names`; each seed is divided by the reference model of the same seed.

    The mean over seeds is called `value`. If it cannot be computed, it is None and `reason` says why.
    """
    if references is None:
        return {"value": None, "reason": NO_REFERENCE}
    if not names:
        return {"value": None, "reason": "the suite has no such corruption"}
    pairs = zip((result.stress for result in results), (other.stress for other in references), strict=True)
    errors = [corruption_error(*pair, names, relative) for pair in pairs]
    if any(error is None for error in errors):
        return {"value": None, "reason": NOT_WORSE}
    summary = summarise_values(errors)
    return {"value": summary.pop("mean"), "reason": None, **summary}


def corruption_errors(cells: Cells) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """(Relative) mCE for each loss and training set, over the groups of `ERRORS_OF`: CIFAR-10-C's 15, seen, unseen."""
    references, found = cells.get(REFERENCE), {}
    for (loss, train_set), results in cells.items():
        groups = results[0].stress.groups()
        found[f"{loss}, {train_set}"] = {
            title: {group: error_of(results, references, groups[group], relative) for group in ERRORS_OF}
            for title, relative in (("mCE", False), ("relative mCE", True))
        }
    return found


def every_accuracy(cells: Cells) -> pd.DataFrame:
    """Accuracies with standard deviation and interval, in long format: a row per model, corruption and severity."""
    rows: list[dict[str, Any]] = []
    for (loss, train_set), results in cells.items():
        stress = results[0].stress
        levels = {("clean", 0): under_corruptions("clean")}
        for name, of_severities in stress.by_corruption.items():
            levels |= {
                (name, severity): under_corruptions(name, severity) for severity in range(1, len(of_severities) + 1)
            }
        for (corruption, severity), metric in levels.items():
            summary = summarise(results, metric)
            low, high = summary["interval_95"]
            place = {"loss": loss, "train_set": train_set, "corruption": corruption, "severity": severity}
            accuracy = {"accuracy": summary["mean"], "std": summary["std"], "n": summary["n"], "images": stress.images}
            rows.append({**place, **accuracy, "lower_95": low, "upper_95": high})
    return pd.DataFrame(rows)


def by_severity(results: list[CellResults], group: str) -> list[tuple[float, float, float]]:
    """A group's mean accuracy at severities 0 (clean) to 5, each with both ends of its 95 % interval."""
    metrics = [under_corruptions("clean"), *(under_corruptions(group, severity) for severity in SEVERITIES)]
    return [mean_and_interval(summarise(results, metric)) for metric in metrics]
