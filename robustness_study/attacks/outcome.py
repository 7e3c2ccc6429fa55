"""What an attack found, image by image, and what follows from it: accuracies, and alarms by comparing two attacks.

The stage `attack` writes it to attack.json. The comparison reads it there and derives the same values again. So this
file imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robustness_study.attacks import alarms, catalogue
from robustness_study.attacks.alarms import Alarm
from robustness_study.core.array_text import from_text, to_text

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
        """The labels predicted for some of the images, by epsilon. `positions` are those in the target."""
        places = np.searchsorted(self.positions, positions)
        return {epsilon: predicted[places] for epsilon, predicted in self.predictions.items()}


def compared(
    entry: catalogue.Entry, found: Mapping[str, Found], labels: np.ndarray, correct_clean: np.ndarray
) -> list[Alarm]:
    """The alarms of an attack's comparisons with earlier attacks. An attack that did not run is compared with nothing.

    `found` are the results of all attacks so far. `labels`, N, are the true ones. `correct_clean`, bool N, says which
    images are correct without an attack.
    """
    raised = []
    for comparison in entry.comparisons:
        strong = found.get(comparison.strong)
        for name, weak in found.items():
            called = catalogue.filled_in(comparison.weak, comparison.called[0], name)
            if called is None or strong is None:
                continue
            positions = np.intersect1d(weak.positions, strong.positions)
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
                raised.append(alarms.stronger(comparison.alarm, *both, of_weak, of_strong, comparison.margin))
    return [alarm for alarm in raised if alarm is not None]


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
