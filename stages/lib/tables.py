"""The comparison's tables, as pandas frames."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.lib.results import CellResults

Cells = dict[tuple[str, str], list[CellResults]]  # (loss, training set) → one entry per seed


def flip_table(cells: Cells) -> pd.DataFrame:
    """Test accuracy with flip test-time augmentation: a row per training → test images, a column per loss."""
    columns: dict[str, dict[str, float]] = {}
    for (loss, train_set), results in cells.items():
        for test in ("clean", "corrupted"):
            found = [result.row(f"test_{test}")["flip_accuracy"] for result in results]
            columns.setdefault(loss, {})[f"{train_set} → {test}"] = float(np.mean(found))
    return pd.DataFrame(columns).rename_axis("trained on → tested on")


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
        columns[f"{loss}, {train_set}"] = figures.mean(skipna=False)
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
