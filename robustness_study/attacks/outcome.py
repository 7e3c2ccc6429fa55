"""What an attack found, image by image, and what follows from it: accuracies, and alarms by comparing two attacks.

The stage `attack` writes it to attack.json. The comparison reads it there and derives the same values again. So this
file imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from robustness_study.attacks import alarms, catalogue
from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.entry import Entry, filled_in
from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.errors import StudyError

ByEpsilon = dict[int, np.ndarray]  # epsilon in units of 1/255 → an array of N


@dataclass(frozen=True)
class Found:
    """One result of an attack: the labels predicted at each epsilon, for the images at `positions` in the target.

    attack.json also holds `settings` and `measured`. Two models are compared only if their settings are equal, as far
    as the attack's entry in the catalogue names them in `must_be_equal`.
    """

    positions: np.ndarray  # sorted, M
    predictions: ByEpsilon
    settings: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def of(self, positions: np.ndarray) -> ByEpsilon:
        """The labels predicted for some of the images, by epsilon. `positions` are those in the target.

        Raises StudyError if one of them was not attacked.
        """
        if not np.isin(positions, self.positions).all():
            raise StudyError("attack.json has no prediction for an image that was asked for; run `dvc repro`")
        places = np.searchsorted(self.positions, positions)
        return {epsilon: predicted[places] for epsilon, predicted in self.predictions.items()}


def compared(entry: Entry, found: Mapping[str, Found], labels: np.ndarray, correct_clean: np.ndarray) -> list[Alarm]:
    """The alarms of an attack's comparisons with earlier attacks. An attack that did not run is compared with nothing.

    `found` are the results of all attacks so far. `labels`, N, are the true ones. `correct_clean`, bool N, says which
    images are correct without an attack.
    """
    raised = []
    for comparison in entry.comparisons:
        strong = found.get(comparison.strong)
        for name, weak in found.items():
            called = filled_in(comparison.weak, comparison.called[0], name)
            if called is None or strong is None:
                continue
            positions = np.intersect1d(weak.positions, strong.positions)
            if comparison.on_images_of_all:
                positions = np.intersect1d(positions, images_of_all(found))
            counted = np.ones(len(positions), dtype=bool)
            if any(catalogue.entry_of(each).only_right_images for each in (name, comparison.strong)):
                counted = correct_clean[positions]  # the others count as wrong under both
            shared = [epsilon for epsilon in weak.predictions if epsilon in strong.predictions]
            of_weak, of_strong = (
                {epsilon: counted & (each.of(positions)[epsilon] == labels[positions]) for epsilon in shared}
                for each in (weak, strong)
            )
            if len(positions):
                both = (called, comparison.called[1])
                rule = comparison.margin, comparison.rule
                raised.append(alarms.stronger(comparison.alarm, *both, of_weak, of_strong, *rule))
    return [alarm for alarm in raised if alarm is not None]


def images_of_all(found: Mapping[str, Found]) -> np.ndarray:
    """Sorted positions of the images that every attack on the model had."""
    return reduce(
        np.intersect1d, (each.positions for name, each in found.items() if catalogue.entry_of(name).of_the_model)
    )


def worst_case(found: Mapping[str, Found], labels: np.ndarray, clean: np.ndarray) -> dict[str, Found]:
    """The result `worst_case` on the images of APGD, at its epsilons; empty if APGD did not run.

    `labels`, N, are the true ones; `clean`, N, those predicted without an attack. An image is correct only if it is so
    without an attack and under every attack on the model that it was given to, at this epsilon and at all smaller ones:
    a smaller ball is part of a larger one. Where it is wrong, its label is the first wrong one, by epsilon and then in
    the catalogue's order.
    """
    if "apgd" not in found:
        return {}
    positions = found["apgd"].positions
    true, said = labels[positions], clean[positions].copy()
    by_epsilon: dict[int, np.ndarray] = {}
    every = sorted({epsilon for each in found.values() for epsilon in each.predictions})
    for epsilon in every:
        for name, each in found.items():
            if epsilon not in each.predictions or not catalogue.entry_of(name).of_the_model:
                continue
            _, places, others = np.intersect1d(positions, each.positions, return_indices=True)
            new = each.predictions[epsilon][others]
            said[places] = np.where(said[places] == true[places], new, said[places])
        if epsilon in found["apgd"].predictions:
            by_epsilon[epsilon] = said.copy()
    return {"worst_case": Found(positions, by_epsilon)}


def summarise(exact: ByEpsilon, rounded: ByEpsilon, labels: np.ndarray) -> list[dict[str, Any]]:
    """One row per epsilon: accuracies in [0, 1], of all images and of those correct on the clean image.

    `exact` and `rounded` hold predicted labels, N, by epsilon, without and with rounding to 8 bits; `labels` are N.
    `accuracy_of_clean_correct` is None if no clean image is correct.
    """
    clean_correct = exact[0] == labels
    rows = []
    for epsilon_255, predictions in exact.items():
        correct = predictions == labels
        kept = float((correct & clean_correct).sum() / clean_correct.sum()) if clean_correct.any() else None
        rows.append(
            {
                "epsilon_255": epsilon_255,
                "accuracy": float(correct.mean()),
                "accuracy_of_clean_correct": kept,
                "accuracy_8_bit": float((rounded[epsilon_255] == labels).mean()),
            }
        )
    return rows


def as_json(found: Found) -> dict[str, Any]:
    """One result of an attack, for JSON."""
    return {
        **found.settings,
        **found.measured,
        "images": len(found.positions),
        "positions": to_text(found.positions),
        "predictions": {str(epsilon): to_text(predicted) for epsilon, predicted in found.predictions.items()},
    }


def from_json(written: Mapping[str, Any]) -> Found:
    """A result as `as_json` wrote it, without its settings and measured values."""
    return Found(
        from_text(written["positions"]),
        {int(epsilon): from_text(text) for epsilon, text in written["predictions"].items()},
    )
