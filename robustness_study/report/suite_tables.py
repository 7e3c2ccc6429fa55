"""The suite's tables, as pandas frames: what models keep of their accuracy under corruptions."""

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
NOT_WORSE = "under one of the corruptions the reference is no worse than on clean images: there is nothing to divide by"
NO_REFERENCE = "no cross-entropy model trained on clean images is in the study to divide by"


def means_table(cells: Cells) -> pd.DataFrame:
    """Mean accuracy and (relative) mCE: a column per loss and training set.

    A row per group of CIFAR-10-C's corruptions, and one for each corruption that is not of CIFAR-10-C.
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


def as_summary(error: dict[str, Any]) -> Summary:
    """An entry of `corruption_errors` as other tables have their entries."""
    if error["value"] is None:
        return {"mean": None}
    return {"mean": error["value"], **{key: found for key, found in error.items() if key not in ("value", "reason")}}


def error_of(
    results: list[CellResults], references: list[CellResults] | None, names: list[str], relative: bool
) -> dict[str, Any]:
    """(Relative) mCE over these corruptions, each seed's against the reference of the same seed.

    Its mean is called `value`: None with a `reason` where it cannot be given.
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
        levels = {("clean", 0): under_corruptions("clean")}
        for name, of_severities in stress.by_corruption.items():
            levels |= {
                (name, severity): under_corruptions(name, severity) for severity in range(1, len(of_severities) + 1)
            }
        for (corruption, severity), metric in levels.items():
            summary = summarise(results, metric)
            low, high = summary["interval_95"]
            place = {"loss": loss, "train_set": train_set, "corruption": corruption, "severity": severity}
            spread = {"accuracy": summary["mean"], "std": summary["std"], "n": summary["n"], "images": stress.images}
            rows.append({**place, **spread, "lower_95": low, "upper_95": high})
    return pd.DataFrame(rows)


def by_severity(results: list[CellResults], group: str) -> list[tuple[float, float, float]]:
    """A group's mean accuracy at severities 0 (clean) to 5, each with the ends of its 95 % interval."""
    metrics = [under_corruptions("clean"), *(under_corruptions(group, severity) for severity in SEVERITIES)]
    return [mean_and_interval(summarise(results, metric)) for metric in metrics]
