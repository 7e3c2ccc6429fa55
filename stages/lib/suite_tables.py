"""The suite's tables, as pandas frames: what models keep of their accuracy under corruptions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stages.lib import spread
from stages.lib.results import CellResults, Cells, mean
from stages.lib.spread import Show
from stages.lib.suite_scores import corruption_error

REFERENCE = ("cross_entropy", "clean")  # the model that corruption errors are relative to
ERRORS_OF = ("main", "seen", "unseen")
NOT_WORSE = "under one of the corruptions the reference is no worse than on clean images: there is nothing to divide by"
NO_REFERENCE = "no cross-entropy model trained on clean images is in the study to divide by"


def means_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Mean accuracy of groups of corruptions, and (relative) mCE: a column per loss and training set."""
    references = cells.get(REFERENCE)
    columns = {}
    for (loss, train_set), results in cells.items():
        groups = results[0].stress.groups()
        rows = {"clean": ["clean"], **groups}
        if "mix_without_flip" in results[0].stress.by_corruption:
            rows["mix_without_flip"] = ["mix_without_flip"]
        column = {
            name.replace("_", " "): show(spread.figure_of(results, f"suite_of_{name}") if names else {"mean": None})
            for name, names in rows.items()
        }
        for title, relative in (("mCE", False), ("relative mCE", True)):
            for group in ERRORS_OF:
                suffix = "" if group == "main" else f", {group}"
                errors = errors_of(results, references, groups[group], relative)
                column[title + suffix] = show(spread.figure_of_scalars(errors) if errors else {"mean": None})
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
    """The mean over seeds of (relative) mCE as `value`, None with a `reason` where it cannot be given."""
    if references is None:
        return {"value": None, "reason": NO_REFERENCE}
    if not names:
        return {"value": None, "reason": "the suite has no such corruption"}
    errors = errors_of(results, references, names, relative)
    return {"value": mean(errors), "reason": None} if errors else {"value": None, "reason": NOT_WORSE}


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
        stresses, images = [result.stress for result in results], results[0].stress.images
        levels: dict[tuple[str, int], list[float]] = {("clean", 0): [stress.clean for stress in stresses]}
        for corruption in stresses[0].by_corruption:
            for severity, of_each in enumerate(
                zip(*(stress.by_corruption[corruption] for stress in stresses), strict=True)
            ):
                levels[corruption, severity + 1] = list(of_each)
        for (corruption, severity), values in levels.items():
            figure = spread.figure_of_scalars(values, images)
            low, high = figure["interval_95"]
            place = {"loss": loss, "train_set": train_set, "corruption": corruption, "severity": severity}
            of_figure = {"accuracy": figure["mean"], "std": figure["std"], "n": figure["n"], "images": images}
            rows.append({**place, **of_figure, "lower_95": low, "upper_95": high})
    return pd.DataFrame(rows)


def over_seeds(results: list[CellResults]) -> dict[str, list[float]]:
    """Accuracy by corruption, at each severity, the mean over seeds."""
    frames = [pd.DataFrame(result.stress.by_corruption) for result in results]
    averaged = sum(frames[1:], start=frames[0]) / len(frames)
    return {str(name): averaged[name].tolist() for name in averaged}


def severity_table(results: list[CellResults], names: list[str]) -> list[float]:
    """Mean accuracy of the named corruptions at severities 0 (clean) to 5, over seeds."""
    clean = mean([result.stress.clean for result in results])
    accuracies = over_seeds(results)
    by_severity = pd.DataFrame({name: accuracies[name] for name in names}).mean(axis=1)
    return [float(clean or 0), *by_severity.tolist()]
