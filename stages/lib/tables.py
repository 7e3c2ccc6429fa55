"""The comparison's tables, as pandas frames."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.lib import results as of_cells
from stages.lib.results import METRICS, CellResults

Cells = dict[tuple[str, str], list[CellResults]]  # (loss, training set) → one entry per seed


def studies_table(cells: Cells, figure: str = "accuracy") -> pd.DataFrame:
    """Test accuracy as the two studies printed it: a row per training → test images, a column per loss.

    `figure` is a column of evaluate.json's sets.
    """
    losses = list(dict.fromkeys(loss for loss, _ in cells))
    train_sets = list(dict.fromkeys(train_set for _, train_set in cells))
    rows = {
        f"{train_set} → {test}": {
            loss: float(np.mean([result.row(f"test_{test}")[figure] for result in cells[loss, train_set]]))
            for loss in losses
        }
        for train_set in train_sets
        for test in ("clean", "corrupted")
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained on → tested on")


def all_metrics(cells: Cells) -> pd.DataFrame:
    """Every headline figure: a row per metric, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set}": {name: _mean(results, name) for name in METRICS}
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("metric")


def ladder_table(cells: Cells) -> pd.DataFrame:
    """Accuracy under the attack: a row per epsilon in grey levels, a column per loss and training set."""
    columns = {}
    for (loss, train_set), results in cells.items():
        ladders = [{row["epsilon_255"]: row["accuracy"] for row in result.attack["ladder"]} for result in results]
        columns[f"{loss}, {train_set}"] = pd.DataFrame(ladders).mean()
    return pd.DataFrame(columns).rename_axis("epsilon_255")


def attack_table(cells: Cells) -> pd.DataFrame:
    """The attack in full: of all images, of those right when clean, and after rounding to 8 bits."""
    every = [result for results in cells.values() for result in results]
    rows = [{"model": result.cell.key, **row} for result in every for row in result.attack["ladder"]]
    return pd.DataFrame(rows).set_index("model")


def beside_accuracy(cells: Cells) -> pd.DataFrame:
    """What an accuracy alone does not tell, the mean over seeds: a row per figure, a column per loss and training set.

    The class that is worst may differ from seed to seed; each seed's own is taken.
    """
    columns = {}
    for (loss, train_set), results in cells.items():
        figures = pd.DataFrame([_beside_accuracy(result) for result in results])
        columns[f"{loss}, {train_set}"] = figures.mean()
    return pd.DataFrame(columns).rename_axis("figure")


def _beside_accuracy(result: CellResults) -> dict[str, float]:
    labels, clean = result.predictions("test_clean")
    _, corrupted = result.predictions("test_corrupted")
    still_right = (corrupted == labels)[clean == labels]
    figures = {
        f"recall of the worst class, {test}": min(
            row["recall"] for row in result.evaluate["details"][f"test_{test}"]["per_class"].values()
        )
        for test in ("clean", "corrupted")
    }
    figures["right corrupted, of those right clean"] = float(still_right.mean()) if len(still_right) else np.nan
    for test in ("clean", "corrupted"):
        figures[f"negative log-likelihood, {test}"] = result.row(f"test_{test}")["loss"]
    return figures


def features_table(cells: Cells) -> pd.DataFrame:
    """What can be measured of the features and their UMAP plane: a row per measure, a column per model."""
    columns = {}
    for results in cells.values():
        for result in results:
            if result.embed is not None:
                columns[result.cell.key] = {row["measure"]: row["value"] for row in result.embed["measures"]}
    return pd.DataFrame(columns).rename_axis("measure")


def per_class_table(cells: Cells) -> pd.DataFrame:
    """Recall of every class on clean and corrupted test images, the mean over seeds."""
    columns = {}
    for (loss, train_set), results in cells.items():
        for name in ("test_clean", "test_corrupted"):
            recalls = [
                [row["recall"] for row in result.evaluate["details"][name]["per_class"].values()] for result in results
            ]
            columns[f"{loss}, {train_set} → {name.removeprefix('test_')}"] = np.mean(recalls, axis=0)
    classes = next(iter(cells.values()))[0].evaluate["dataset"]["classes"]
    return pd.DataFrame(columns, index=pd.Index(classes, name="class"))


def curves(cells: Cells) -> pd.DataFrame:
    """The curves of every model, long."""
    frames = []
    for results in cells.values():
        for result in results:
            cell = result.cell
            names = {"model": cell.key, "loss": cell.loss, "train_set": cell.train_set, "seed": cell.seed}
            frames.append(pd.DataFrame({**names, **result.curves}).astype({"epoch": int}))
    return pd.concat(frames, ignore_index=True)


def _mean(results: list[CellResults], metric: str) -> float | None:
    return of_cells.mean([result.metrics()[metric] for result in results])
