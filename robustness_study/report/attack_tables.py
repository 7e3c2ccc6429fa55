"""The attacks' tables, as pandas frames; those that take `show` have a figure with its spread in each place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robustness_study.results import flattered
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Show, figure_of, figure_of_scalars
from robustness_study.statistics import wilson_interval


def beside(result: CellResults) -> dict[str, str]:
    """The attacks beside the first: name in attack.json → what a table calls it."""
    factors = flattered.attacks_of(result)
    return {
        "noise": "random signs",
        **{f"{flattered.PREFIX}{each}": f"FGSM, by the gradient of {each} × the logits" for each in factors},
        "pgd": "PGD",
        "pgd_8_bit": "PGD, rounded to 8 bits",
        "square": "Square",
        "knn_fgsm": "FGSM on the nearest neighbours",
    }


def ladder_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Accuracy under the attack: a row per epsilon in grey levels, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set}": {
            row["epsilon_255"]: show(figure_of(results, f"fgsm_{row['epsilon_255']}"))
            for row in results[0].attack["ladder"]
        }
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("epsilon_255")


def attack_table(cells: Cells, show: Show) -> pd.DataFrame:
    """The attack on images that were right when clean, and after rounding to 8 bits: rows by epsilon."""
    columns = {}
    for (loss, train_set), results in cells.items():
        column = {}
        for position, row in enumerate(results[0].attack["ladder"]):
            epsilon_255 = row["epsilon_255"]
            kept = [result.attack["ladder"][position]["accuracy_of_clean_correct"] for result in results]
            right = round(results[0].attack["ladder"][0]["accuracy"] * results[0].attack["images"])
            figure = figure_of_scalars([np.nan if value is None else value for value in kept], right)
            column[f"ε = {epsilon_255}/255, of those right when clean"] = show(figure)
            column[f"ε = {epsilon_255}/255, rounded to 8 bits"] = show(figure_of(results, f"fgsm_8_bit_{epsilon_255}"))
        columns[f"{loss}, {train_set}"] = column
    return pd.DataFrame(columns).rename_axis("attack")


def beside_attack_table(cells: Cells, show: Show) -> pd.DataFrame:
    """Accuracy under the attacks beside the first: a row per attack and epsilon, a column per loss and training set."""
    columns = {}
    for (loss, train_set), results in cells.items():
        attacks = results[0].attack["attacks"]
        columns[f"{loss}, {train_set}"] = {
            f"{title}, ε = {epsilon_255}/255, {attacks[name]['images']} images": show(
                figure_of(results, f"{name}_{epsilon_255}")
            )
            for name, title in beside(results[0]).items()
            for epsilon_255 in attacks[name]["predictions"]
        }
    return pd.DataFrame(columns).rename_axis("attack")


def attack_checks(cells: Cells) -> pd.DataFrame:
    """What tells whether the attacks did their work: a row per check, a column per model."""
    columns = {}
    for results in cells.values():
        for result in sorted(results, key=lambda result: result.cell.seed):
            attacks, gained = result.attack["attacks"], max(gain.share for gain in flattered.gains(result))
            neighbours = attacks["knn_fgsm"]
            columns[result.cell.key] = {
                "images without a gradient": f"{attacks['fgsm']['zero_gradients']} of {attacks['fgsm']['images']}",
                "most that the gradient of rescaled logits gains, points": f"{100 * gained:+.1f}",
                "ε in grey levels at which it gains clearly": ", ".join(map(str, flattered.clear_at(result)))
                or "nowhere",
                "stand-in and nearest neighbours agree": share_said(
                    neighbours["stand_in_agrees"], neighbours["images"]
                ),
                "alarms accepted": ", ".join(result.attack["alarms"]) or "none",
            }
    return pd.DataFrame(columns).rename_axis("check")


def share_said(value: float, images: int) -> str:
    """A share of images where a person reads it, with its 95 % interval."""
    return "{:.3f} ({:.3f} to {:.3f})".format(value, *wilson_interval(value, images))


def transfer_table(transfer: dict[str, Any], column: str = "accuracy") -> pd.DataFrame:
    """Accuracy on transferred images: a row per model attacked through, a column per model that is given the images."""
    frame = pd.DataFrame(transfer["rows"])
    frame["said"] = [share_said(accuracy, transfer["images"]) for accuracy in frame["accuracy"]]
    return frame.pivot(index="source", columns="target", values=column).loc[
        list(dict.fromkeys(frame["source"])), list(dict.fromkeys(frame["target"]))
    ]
