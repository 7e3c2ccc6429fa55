"""The tables of attacks: frames with a `Summary` in each place, but for the checks, which are texts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.attacks import catalogue
from robustness_study.results import overstated
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import summarise, summarise_values
from robustness_study.results.metrics import under_attack
from robustness_study.statistics import wilson_interval


def beside(result: CellResults) -> dict[str, str]:
    """The results beside FGSM's own: name in attack.json → title. StudyError if the catalogue has no title for one."""
    own = catalogue.FAST_GRADIENT_SIGN.titles
    return {name: catalogue.title(name) for name in result.attack["attacks"] if name not in own}


def ladder_table(cells: Cells) -> pd.DataFrame:
    """Accuracy under the attack: a row per epsilon in grey levels, a column per loss and training set."""
    columns = {
        f"{loss}, {train_set}": {
            row["epsilon_255"]: summarise(results, under_attack("fgsm", row["epsilon_255"]))
            for row in results[0].attack["ladder"]
        }
        for (loss, train_set), results in cells.items()
    }
    return pd.DataFrame(columns).rename_axis("epsilon_255")


def attack_table(cells: Cells) -> pd.DataFrame:
    """The attack on images that were right when clean, and after rounding to 8 bits: rows by epsilon."""
    columns = {}
    for (loss, train_set), results in cells.items():
        column = {}
        for position, row in enumerate(results[0].attack["ladder"]):
            epsilon_255 = row["epsilon_255"]
            kept = [result.attack["ladder"][position]["accuracy_of_clean_correct"] for result in results]
            right = round(results[0].attack["ladder"][0]["accuracy"] * results[0].attack["images"])
            column[f"ε = {epsilon_255}/255, of those right when clean"] = summarise_values(kept, right)
            rounded = summarise(results, under_attack("fgsm_8_bit", epsilon_255))
            column[f"ε = {epsilon_255}/255, rounded to 8 bits"] = rounded
        columns[f"{loss}, {train_set}"] = column
    return pd.DataFrame(columns).rename_axis("attack")


def beside_attack_table(cells: Cells) -> pd.DataFrame:
    """Accuracy under the attacks beside the first: a row per attack and epsilon, a column per loss and training set.

    Without a row there is no column either.
    """
    columns = {}
    for (loss, train_set), results in cells.items():
        attacks = results[0].attack["attacks"]
        columns[f"{loss}, {train_set}"] = {
            f"{title}, ε = {epsilon_255}/255, {attacks[name]['images']} images": summarise(
                results, under_attack(name, epsilon_255)
            )
            for name, title in beside(results[0]).items()
            for epsilon_255 in attacks[name]["predictions"]
        }
    frame = pd.DataFrame(columns).rename_axis("attack")
    return frame if len(frame) else frame[[]]


def attack_checks(cells: Cells) -> pd.DataFrame:
    """What tells whether the attacks did their work: a row per check of the attacks that ran, a column per model."""
    every = [result for results in cells.values() for result in sorted(results, key=lambda each: each.cell.seed)]
    return pd.DataFrame({result.cell.key: checks_of(result) for result in every}).rename_axis("check")


def checks_of(result: CellResults) -> dict[str, str]:
    """The checks of one model: check → what came of it."""
    attacks, gains = result.attack["attacks"], overstated.gains(result)
    checks = {"images without a gradient": f"{attacks['fgsm']['zero_gradients']} of {attacks['fgsm']['images']}"}
    if gains:
        most = max(gain.share for gain in gains)
        checks["most that the gradient of rescaled logits gains, points"] = f"{100 * most:+.1f}"
        clear = ", ".join(map(str, overstated.clear_at(result)))
        checks["ε in grey levels at which it gains clearly"] = clear or "nowhere"
    if "knn_fgsm" in attacks:
        agree = share_said(attacks["knn_fgsm"]["stand_in_agrees"], attacks["knn_fgsm"]["images"])
        checks["stand-in and nearest neighbours agree"] = agree
    return checks | {"alarms accepted": ", ".join(result.attack["alarms"]) or "none"}


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
