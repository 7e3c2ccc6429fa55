"""The comparison's tables. Each is made once, as a frame whose entries are `Summary`.

`shown` turns such a frame into the table of the report, `in_columns` into the table of a CSV file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from robustness_study.core.cell import model_name
from robustness_study.results.cell_results import Cells
from robustness_study.results.intervals import Summaries, as_text, summarise, summarise_values
from robustness_study.results.metric_kinds import recall
from robustness_study.results.metrics import BESIDE


def studies_table(summaries: Summaries, train_sets: Collection[str]) -> pd.DataFrame:
    """Test accuracy in the layout of the two studies: a row per training set → test images, a column per loss."""
    return accuracy_table(summaries, train_sets, {"test_clean": "clean", "test_corrupted": "corrupted"})


def accuracy_table(summaries: Summaries, train_sets: Collection[str], tested_on: Mapping[str, str]) -> pd.DataFrame:
    """The metrics `tested_on` (name → test images): a row per training set → test images, a column per loss."""
    rows = {
        f"{train_set} → {test}": {loss: of_loss[f"{train_set}_trained"][metric] for loss, of_loss in summaries.items()}
        for train_set in train_sets
        for metric, test in tested_on.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on → tested on")


def metrics_table(summaries: Summaries) -> pd.DataFrame:
    """The metrics of `METRICS`: a row per metric, a column per loss and training set."""
    columns = {
        model_name(loss, train_set.removesuffix("_trained")): of_cell
        for loss, of_loss in summaries.items()
        for train_set, of_cell in of_loss.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


def flip_table(cells: Cells) -> pd.DataFrame:
    """Test accuracy with flip test-time augmentation: a row per training set → test images, a column per loss."""
    columns: dict[str, dict[str, Any]] = {}
    for (loss, train_set), results in cells.items():
        for test in ("clean", "corrupted"):
            found = [result.row(f"test_{test}")["flip_accuracy"] for result in results]
            images = results[0].row(f"test_{test}")["images"]
            columns.setdefault(loss, {})[f"{train_set} → {test}"] = summarise_values(found, images)
    return pd.DataFrame(columns).rename_axis("trained on → tested on")


def recall_table(cells: Cells) -> pd.DataFrame:
    """Recall on clean and corrupted test images: a row per class, a column per loss, training set and test set."""
    classes = next(iter(cells.values()))[0].evaluate["dataset"]["classes"]
    columns = {
        f"{model_name(loss, train_set)} → {test}": [
            summarise(results, recall(label, f"test_{test}")) for label in range(len(classes))
        ]
        for (loss, train_set), results in cells.items()
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="class"))


def beyond_accuracy(cells: Cells) -> pd.DataFrame:
    """The metrics of `BESIDE`: a row per metric, a column per loss and training set."""
    columns = {
        model_name(loss, train_set): {metric.title: summarise(results, metric) for metric in BESIDE}
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


TESTED_ON = {
    "test_clean": "clean",
    "test_corrupted": "corrupted",
    "fgsm_2": "FGSM ε = 2/255",
    "robust_2": "every attack, ε = 2/255",
    "suite_mean": "CIFAR-10-C's corruptions",
}


def comparison_chart(summaries: Summaries) -> pd.DataFrame:
    """The first chart of `dvc plots`, in long format: a row per kind of test image, loss and training set."""
    rows = []
    for metric, tested_on in TESTED_ON.items():
        for loss, of_loss in summaries.items():
            for train_set, of_cell in of_loss.items():
                low, high = of_cell[metric]["interval_95"] or (None, None)
                row = {"tested_on": tested_on, "model": model_name(loss, train_set.removesuffix("_trained"))}
                mean, n = of_cell[metric]["mean"], of_cell[metric]["n"]
                rows.append({**row, "accuracy": mean, "lower_95": low, "upper_95": high, "n": n})
    return pd.DataFrame(rows)


def features_table(cells: Cells) -> pd.DataFrame:
    """Measures of the features and of their UMAP plane: a row per measure, a column per model of the first seed."""
    columns = {}
    for results in cells.values():
        for result in results:
            if result.plane is not None:
                columns[result.cell.key] = {row["measure"]: row["value"] for row in result.plane["measures"]}
    return pd.DataFrame(columns).rename_axis("measure")


def curves(cells: Cells) -> pd.DataFrame:
    """The training curves of every model in long format: a row per model and epoch."""
    frames = []
    for results in cells.values():
        for result in results:
            cell = result.cell
            names = {"model": cell.key, "loss": cell.loss, "train_set": cell.train_set, "seed": cell.seed}
            frames.append(pd.DataFrame({**names, **result.curves}).astype({"epoch": int}))
    return pd.concat(frames, ignore_index=True)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of summaries as text, for the report."""
    return frame.map(as_text)


def in_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of summaries for a CSV file: the parts of each summary in columns of their own."""
    columns: dict[str, Any] = {}
    for name, summaries in frame.items():
        intervals = [summary.get("interval_95") or (None, None) for summary in summaries]
        columns[str(name)] = [summary["mean"] for summary in summaries]
        columns[f"{name}: std"] = [summary.get("std") for summary in summaries]
        columns[f"{name}: n"] = pd.array([summary.get("n") for summary in summaries], dtype="Int64")
        columns[f"{name}: lower_95"], columns[f"{name}: upper_95"] = zip(*intervals, strict=True)
        columns[f"{name}: covers"] = [summary.get("interval_covers") for summary in summaries]
    return pd.DataFrame(columns, index=frame.index)
