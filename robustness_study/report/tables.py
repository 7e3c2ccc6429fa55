"""The comparison's tables, as pandas frames; those that take `show` have a figure with its spread in each place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Figures, Show, figure_of, figure_of_scalars


def studies_table(table: Figures, show: Show) -> pd.DataFrame:
    """Test accuracy as the two studies printed it: a row per training → test images, a column per loss."""
    train_sets = list(next(iter(table.values())))
    rows = {
        f"{train_set.removesuffix('_trained')} → {test}": {
            loss: show(of_loss[train_set][f"test_{test}"]) for loss, of_loss in table.items()
        }
        for train_set in train_sets
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on → tested on")


def all_metrics(table: Figures, show: Show) -> pd.DataFrame:
    """Every headline figure: a row per metric, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set.removesuffix('_trained')}": {metric: show(found) for metric, found in of_cell.items()}
        for loss, of_loss in table.items()
        for train_set, of_cell in of_loss.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


def flip_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Test accuracy with flip test-time augmentation: a row per training → test images, a column per loss."""
    columns: dict[str, dict[str, Any]] = {}
    for (loss, train_set), results in cells.items():
        for test in ("clean", "corrupted"):
            found = [result.row(f"test_{test}")["flip_accuracy"] for result in results]
            figure = figure_of_scalars(found, results[0].row(f"test_{test}")["images"])
            columns.setdefault(loss, {})[f"{train_set} → {test}"] = show(figure)
    return pd.DataFrame(columns).rename_axis("trained on → tested on")


def recall_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Recall of every class on clean and corrupted test images: a column per loss, training set and test set."""
    classes = next(iter(cells.values()))[0].evaluate["dataset"]["classes"]
    columns = {
        f"{loss}, {train_set} → {test}": [
            show(figure_of(results, f"recall_{label}_test_{test}")) for label in range(len(classes))
        ]
        for (loss, train_set), results in cells.items()
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="class"))


def beside_accuracy(cells: Cells, show: Show) -> pd.DataFrame:
    """What an accuracy alone does not tell: a row per figure, a column per loss and training set."""
    columns = {}
    for (loss, train_set), results in cells.items():
        of_each = [_beside_accuracy(result) for result in results]
        columns[f"{loss}, {train_set}"] = {
            name: show(figure_of_scalars([figures[name][0] for figures in of_each], of_each[0][name][1]))
            for name in of_each[0]
        }
    return pd.DataFrame(columns).rename_axis("figure")


def _beside_accuracy(result: CellResults) -> dict[str, tuple[float, int | None]]:
    """What a model's accuracy alone does not tell: each figure, and of how many images it is a share, if it is one.

    The class that is worst may differ from seed to seed; each seed's own is taken.
    """
    labels, clean = result.predictions("test_clean")
    _, corrupted = result.predictions("test_corrupted")
    still_right = (corrupted == labels)[clean == labels]
    figures: dict[str, tuple[float, int | None]] = {}
    for test in ("clean", "corrupted"):
        classes = result.evaluate["details"][f"test_{test}"]["per_class"].values()
        worst = min(classes, key=lambda row: row["recall"])
        figures[f"recall of the worst class, {test}"] = worst["recall"], worst["images"]
    kept = float(still_right.mean()) if len(still_right) else np.nan
    figures["right corrupted, of those right clean"] = kept, len(still_right) or None
    for title, key in (("expected calibration error", "calibration_error"), ("negative log-likelihood", "loss")):
        for test in ("clean", "corrupted"):
            figures[f"{title}, {test}"] = result.row(f"test_{test}")[key], None
    for of in ("features", "embeddings"):
        for test in ("clean", "corrupted"):
            angles = result.evaluate["angles"][f"test_{test}"][of] or {}
            for where in ("within", "between"):
                value = angles.get(f"{where}_class_degrees")
                figures[f"angle {where} classes in degrees, {of}, {test}"] = np.nan if value is None else value, None
    return figures


def features_table(cells: Cells) -> pd.DataFrame:
    """What can be measured of the features and their UMAP plane: a row per measure, a column per model."""
    columns = {}
    for results in cells.values():
        for result in results:
            if result.embed is not None:
                columns[result.cell.key] = {row["measure"]: row["value"] for row in result.embed["measures"]}
    return pd.DataFrame(columns).rename_axis("measure")


def curves(cells: Cells) -> pd.DataFrame:
    """The curves of every model, long."""
    frames = []
    for results in cells.values():
        for result in results:
            cell = result.cell
            names = {"model": cell.key, "loss": cell.loss, "train_set": cell.train_set, "seed": cell.seed}
            frames.append(pd.DataFrame({**names, **result.curves}).astype({"epoch": int}))
    return pd.concat(frames, ignore_index=True)


def in_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of whole figures as one of numbers, where a machine reads it: after each mean its spread."""
    columns: dict[str, Any] = {}
    for name, figures in frame.items():
        intervals = [figure.get("interval_95") or (None, None) for figure in figures]
        columns[str(name)] = [figure["mean"] for figure in figures]
        columns[f"{name}: std"] = [figure.get("std") for figure in figures]
        columns[f"{name}: n"] = pd.array([figure.get("n") for figure in figures], dtype="Int64")
        columns[f"{name}: lower_95"], columns[f"{name}: upper_95"] = zip(*intervals, strict=True)
        columns[f"{name}: covers"] = [figure.get("interval_covers") for figure in figures]
    return pd.DataFrame(columns, index=frame.index)
