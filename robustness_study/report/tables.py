"""The comparison's tables. Each is made once, as a frame with a `Summary` in each place; `shown` and `in_columns` turn
such a frame into what a person or a program reads.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.results.cell_results import Cells
from robustness_study.results.intervals import Summaries, said, summarise, summarise_values
from robustness_study.results.metrics import BESIDE, recall


def studies_table(summaries: Summaries) -> pd.DataFrame:
    """Test accuracy as the two studies printed it: a row per training → test images, a column per loss."""
    train_sets = list(next(iter(summaries.values())))
    rows = {
        f"{train_set.removesuffix('_trained')} → {test}": {
            loss: of_loss[train_set][f"test_{test}"] for loss, of_loss in summaries.items()
        }
        for train_set in train_sets
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on → tested on")


def metrics_table(summaries: Summaries) -> pd.DataFrame:
    """Every metric of `METRICS`: a row each, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set.removesuffix('_trained')}": of_cell
        for loss, of_loss in summaries.items()
        for train_set, of_cell in of_loss.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


def flip_table(cells: Cells) -> pd.DataFrame:
    """Test accuracy with flip test-time augmentation: a row per training → test images, a column per loss."""
    columns: dict[str, dict[str, Any]] = {}
    for (loss, train_set), results in cells.items():
        for test in ("clean", "corrupted"):
            found = [result.row(f"test_{test}")["flip_accuracy"] for result in results]
            images = results[0].row(f"test_{test}")["images"]
            columns.setdefault(loss, {})[f"{train_set} → {test}"] = summarise_values(found, images)
    return pd.DataFrame(columns).rename_axis("trained on → tested on")


def recall_table(cells: Cells) -> pd.DataFrame:
    """Recall of every class on clean and corrupted test images: a column per loss, training set and test set."""
    classes = next(iter(cells.values()))[0].evaluate["dataset"]["classes"]
    columns = {
        f"{loss}, {train_set} → {test}": [
            summarise(results, recall(label, f"test_{test}")) for label in range(len(classes))
        ]
        for (loss, train_set), results in cells.items()
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="class"))


def beside_accuracy(cells: Cells) -> pd.DataFrame:
    """What an accuracy alone does not tell: a row per metric of `BESIDE`, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set}": {metric.title: summarise(results, metric) for metric in BESIDE}
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("figure")


TESTED_ON = {
    "test_clean": "clean",
    "test_corrupted": "corrupted",
    "fgsm_2": "FGSM ε = 2/255",
    "suite_mean": "CIFAR-10-C's corruptions",
}


def comparison_chart(summaries: Summaries) -> pd.DataFrame:
    """What `dvc plots` draws first, long: a row per kind of test image and model."""
    rows = []
    for metric, tested_on in TESTED_ON.items():
        for loss, of_loss in summaries.items():
            for train_set, of_cell in of_loss.items():
                low, high = of_cell[metric]["interval_95"] or (None, None)
                row = {"tested_on": tested_on, "model": f"{loss}, {train_set.removesuffix('_trained')}"}
                mean, n = of_cell[metric]["mean"], of_cell[metric]["n"]
                rows.append({**row, "accuracy": mean, "lower_95": low, "upper_95": high, "n": n})
    return pd.DataFrame(rows)


def features_table(cells: Cells) -> pd.DataFrame:
    """What can be measured of the features and their UMAP plane: a row per measure, a column per model."""
    columns = {}
    for results in cells.values():
        for result in results:
            if result.plane is not None:
                columns[result.cell.key] = {row["measure"]: row["value"] for row in result.plane["measures"]}
    return pd.DataFrame(columns).rename_axis("measure")


def curves(cells: Cells) -> pd.DataFrame:
    """The curves of every model, long: a row per model and epoch."""
    frames = []
    for results in cells.values():
        for result in results:
            cell = result.cell
            names = {"model": cell.key, "loss": cell.loss, "train_set": cell.train_set, "seed": cell.seed}
            frames.append(pd.DataFrame({**names, **result.curves}).astype({"epoch": int}))
    return pd.concat(frames, ignore_index=True)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of summaries as a person reads it."""
    return frame.map(said)


def in_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of summaries as a program reads it: after each mean its spread, in columns of their own."""
    columns: dict[str, Any] = {}
    for name, summaries in frame.items():
        intervals = [summary.get("interval_95") or (None, None) for summary in summaries]
        columns[str(name)] = [summary["mean"] for summary in summaries]
        columns[f"{name}: std"] = [summary.get("std") for summary in summaries]
        columns[f"{name}: n"] = pd.array([summary.get("n") for summary in summaries], dtype="Int64")
        columns[f"{name}: lower_95"], columns[f"{name}: upper_95"] = zip(*intervals, strict=True)
        columns[f"{name}: covers"] = [summary.get("interval_covers") for summary in summaries]
    return pd.DataFrame(columns, index=frame.index)
