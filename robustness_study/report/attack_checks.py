"""The table of checks: whether the attacks on each model worked as they should. Its entries are texts."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pandas as pd

from robustness_study.attacks import catalogue
from robustness_study.report.attack_tables import share_as_text
from robustness_study.results import overstated
from robustness_study.results.cell_results import CellResults, Cells, decoded

WITH_CONTROLS = ("apgd_ce", "apgd_ce_second_start", "apgd", "apgd_longer")


def attack_checks(cells: Cells) -> pd.DataFrame:
    """Checks of whether the attacks that ran work as they should: a row per check, a column per model."""
    every = [result for results in cells.values() for result in sorted(results, key=lambda each: each.cell.seed)]
    return pd.DataFrame({result.cell.key: checks_of(result) for result in every}).rename_axis("check")


def checks_of(result: CellResults) -> dict[str, str]:
    """The checks of one model: check → its result as text."""
    attacks, gains = result.attack["attacks"], overstated.gains(result)
    checks = {"images with a zero gradient": f"{attacks['fgsm']['zero_gradients']} of {attacks['fgsm']['images']}"}
    if gains:
        most = max(gain.share for gain in gains)
        checks["largest gain of the gradient of rescaled logits over FGSM, in points"] = f"{100 * most:+.1f}"
        clear = ", ".join(map(str, overstated.clear_at(result)))
        checks["ε, in 1/255, at which this gain is clear"] = clear or "none"
    if "worst_case" in attacks:
        images, gains_in_points = beyond_apgd(result)
        checks[f"what all attacks together find beyond APGD, in points, on {images} images"] = gains_in_points
    if "apgd_longer" in attacks:
        (epsilon_255,) = attacks["apgd_longer"]["predictions"]
        positions = decoded(attacks["apgd_longer"]["positions"])
        right = {name: right_of(result, name, epsilon_255, positions) for name in WITH_CONTROLS}
        differ = float((right["apgd_ce_second_start"] != right["apgd_ce"]).mean())
        more = 100 * float(right["apgd"].mean() - right["apgd_longer"].mean())
        at = f"at ε = {epsilon_255}/255"
        checks[f"share of images on which two starts of APGD disagree {at}"] = share_as_text(differ, len(positions))
        checks[f"what five times the steps find beyond APGD {at}, in points"] = f"{more:.1f}"
    for name in [each for each in attacks if each.startswith(catalogue.RESCALED_APGD) and "apgd_ce" in attacks]:
        ((epsilon_255, _),) = attacks[name]["predictions"].items()
        positions = decoded(attacks[name]["positions"])
        right = {each: right_of(result, each, epsilon_255, positions) for each in (name, "apgd_ce")}
        gain = 100 * float(right["apgd_ce"].mean() - right[name].mean())
        factor = name.removeprefix(catalogue.RESCALED_APGD)
        checks[f"gain of {factor} × the logits over APGD (cross-entropy) at ε = {epsilon_255}/255, in points"] = (
            f"{gain:+.1f}"
        )
    if "knn_fgsm" in attacks:
        agree = share_as_text(attacks["knn_fgsm"]["stand_in_agrees"], attacks["knn_fgsm"]["images"])
        checks["share of images where stand-in and nearest neighbours agree"] = agree
    return checks | {"accepted alarms": ", ".join(result.attack["alarms"]) or "none"}


def right_of(result: CellResults, attack: str, epsilon_255: str, positions: np.ndarray) -> np.ndarray:
    """Which of the images at these positions stay correct under an attack, bool N."""
    of_attack = decoded(result.attack["attacks"][attack]["positions"])
    labels, predicted = result.attacked(attack, epsilon_255)
    return (predicted == labels)[np.searchsorted(of_attack, positions)]


def beyond_apgd(result: CellResults) -> tuple[int, str]:
    """On how many images every attack ran, and by how many points the worst case on them is below APGD alone."""
    written = result.attack["attacks"]
    attacked = [decoded(each["positions"]) for name, each in written.items() if catalogue.entry_of(name).of_the_model]
    positions = reduce(np.intersect1d, attacked)
    gains = {
        epsilon_255: right_of(result, "apgd", epsilon_255, positions).mean()
        - right_of(result, "worst_case", epsilon_255, positions).mean()
        for epsilon_255 in written["worst_case"]["predictions"]
    }
    return len(positions), ", ".join(f"{100 * gain:.1f} at {epsilon}/255" for epsilon, gain in gains.items())
