"""The tables of attacks: frames whose entries are `Summary`; the entries of the checks are texts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.attacks import catalogue
from robustness_study.core.cell import model_name
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import summarise, summarise_values
from robustness_study.results.metric_kinds import fgsm_on_images_of, under_attack
from robustness_study.statistics import wilson_interval


def other_results(result: CellResults) -> dict[str, str]:
    """The results of all attacks except FGSM and the worst case: name in attack.json → title.

    Raises StudyError if the catalogue of attacks has no title for one.
    """
    own = {**catalogue.FAST_GRADIENT_SIGN.titles, **catalogue.WORST_CASE.titles}
    return {name: catalogue.title(name) for name in result.attack["attacks"] if name not in own}


def ladder_table(cells: Cells) -> pd.DataFrame:
    """Accuracy under FGSM: a row per epsilon in 1/255, a column per loss and training set."""
    columns = {
        model_name(loss, train_set): {
            row["epsilon_255"]: summarise(results, under_attack("fgsm", row["epsilon_255"]))
            for row in results[0].attack["ladder"]
        }
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("epsilon_255")


def robust_table(cells: Cells) -> pd.DataFrame:
    """Accuracy in the worst case of all attacks, and under FGSM on the same images: two rows per epsilon of APGD.

    Without APGD the table has neither rows nor columns.
    """
    columns = {}
    for (loss, train_set), results in cells.items():
        worst = results[0].attack["attacks"].get("worst_case", {"predictions": {}})
        column = {}
        for epsilon_255 in worst["predictions"]:
            column[f"ε = {epsilon_255}/255, under every attack"] = summarise(
                results, under_attack("worst_case", epsilon_255)
            )
            column[f"ε = {epsilon_255}/255, under FGSM alone"] = summarise(
                results, fgsm_on_images_of("worst_case", epsilon_255)
            )
        columns[model_name(loss, train_set)] = column
    frame = pd.DataFrame(columns).rename_axis("attack")
    return frame if len(frame) else frame[[]]


def attack_table(cells: Cells) -> pd.DataFrame:
    """FGSM on the images that are correct when clean, and after rounding to 8 bits: two rows per epsilon."""
    columns = {}
    for (loss, train_set), results in cells.items():
        column = {}
        for position, row in enumerate(results[0].attack["ladder"]):
            epsilon_255 = row["epsilon_255"]
            shares = [result.attack["ladder"][position]["accuracy_of_clean_correct"] for result in results]
            images = round(results[0].attack["ladder"][0]["accuracy"] * results[0].attack["images"])
            column[f"ε = {epsilon_255}/255, among images correct when clean"] = summarise_values(shares, images)
            rounded = summarise(results, under_attack("fgsm_8_bit", epsilon_255))
            column[f"ε = {epsilon_255}/255, rounded to 8 bits"] = rounded
        columns[model_name(loss, train_set)] = column
    return pd.DataFrame(columns).rename_axis("attack")


def other_attacks_table(cells: Cells) -> pd.DataFrame:
    """Accuracy under the attacks other than FGSM: a row per attack and epsilon, a column per loss and training set.

    Without rows, the table has no columns either.
    """
    columns = {}
    for (loss, train_set), results in cells.items():
        attacks = results[0].attack["attacks"]
        columns[model_name(loss, train_set)] = {
            f"{title}, ε = {epsilon_255}/255, {attacks[name]['images']} images": summarise(
                results, under_attack(name, epsilon_255)
            )
            for name, title in other_results(results[0]).items()
            for epsilon_255 in attacks[name]["predictions"]
        }
    frame = pd.DataFrame(columns).rename_axis("attack")
    return frame if len(frame) else frame[[]]


def share_as_text(value: float, images: int) -> str:
    """A share of images and its 95 % interval over images, as text."""
    return "{:.3f} ({:.3f} to {:.3f})".format(value, *wilson_interval(value, images))


def transfer_table(transfer: dict[str, Any], column: str = "accuracy") -> pd.DataFrame:
    """Accuracy on transferred images: a row per attacked model, a column per model that classifies the images.

    `column` is "accuracy" for numbers, "text" for numbers with their intervals.
    """
    frame = pd.DataFrame(transfer["rows"])
    frame["text"] = [share_as_text(accuracy, transfer["images"]) for accuracy in frame["accuracy"]]
    return frame.pivot(index="source", columns="target", values=column).loc[
        list(dict.fromkeys(frame["source"])), list(dict.fromkeys(frame["target"]))
    ]
