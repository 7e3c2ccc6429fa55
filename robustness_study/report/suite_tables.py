"""The suite's tables, as pandas frames: accuracies and corruption errors."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.core.cell import model_name
from robustness_study.corruptions import SEVERITIES
from robustness_study.results import training_set_effects
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.corruption_errors import Errors
from robustness_study.results.intervals import Summary, mean_and_interval, summarise
from robustness_study.results.metric_kinds import under_corruptions
from robustness_study.results.training_set_effects import as_summary

LABELS = {
    "seen": "similar to training",
    "unseen": "unlike training",
}  # what the report calls groups; files keep the names


def means_table(cells: Cells, errors: Errors) -> pd.DataFrame:
    """Mean accuracy and (relative) mCE: a column per loss and training set.

    There is a row for each group of CIFAR-10-C's corruptions, and one for each corruption that is not in CIFAR-10-C.
    """
    columns = {}
    for (loss, train_set), results in cells.items():
        stress = results[0].stress
        rows = {"clean": ["clean"], **stress.groups(), **{name: [name] for name in stress.others()}}
        column: dict[str, Summary] = {
            name.replace("_", " "): summarise(results, under_corruptions(name)) if names else {"mean": None}
            for name, names in rows.items()
        }
        for title, of_groups in errors[model_name(loss, train_set)].items():
            for group, error in of_groups.items():
                suffix = "" if group == "main" else f", {group}"
                column[title + suffix] = error_as_summary(error)
        columns[model_name(loss, train_set)] = column
    return pd.DataFrame(columns).rename_axis("corruptions")


def labelled(means: pd.DataFrame) -> pd.DataFrame:
    """The table of `means_table` with the row labels of the report: "unlike training" for the group `unseen`, …"""

    def label(row: str) -> str:
        head, comma, group = row.rpartition(", ")
        return head + comma + LABELS.get(group, group)

    return means.rename(index=label)


def error_as_summary(error: dict[str, Any]) -> Summary:
    """An entry of `corruption_errors` as a `Summary`."""
    if error["value"] is None:
        return {"mean": None}
    return {"mean": error["value"], **{key: error[key] for key in ("std", "interval_95", "n", "interval_covers")}}


def effects_table(cells: Cells) -> pd.DataFrame:
    """Where each training set helps and where it hurts: a row per group of corruptions and severity.

    There is a column for each loss, and one for the mean over losses if there are several.
    """
    columns = {}
    for train_set, losses in training_set_effects.compared(cells).items():
        for of in [[loss] for loss in losses] + ([losses] if len(losses) > 1 else []):
            effect = training_set_effects.TrainingSetEffect(cells, train_set, of)
            columns[f"{train_set} − clean, {of[0] if len(of) == 1 else 'mean over losses'}"] = {
                LABELS.get(group, group) + ("" if severity is None else f", severity {severity}"): as_summary(
                    found, effect.images
                )
                for (group, severity), found in effect.effects().items()
            }
    return pd.DataFrame(columns).rename_axis("corruptions")


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
