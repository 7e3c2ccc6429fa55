"""Where FGSM overstates robustness: there the gradient of rescaled logits is a clearly stronger attack.

The sign of the gradient depends on the logits' scale, because cross-entropy weighs the other classes by it. If a factor
alone makes the attack stronger, FGSM is not the strongest attack of its kind (Carlini et al. 2019, arXiv 1902.06705).
The stage `attack` raises the alarm `rescaled_logits`; if it was accepted, the report marks the values it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustness_study.attacks.alarms import clearly_fewer
from robustness_study.attacks.catalogue import MARGIN, RESCALED
from robustness_study.core.array_text import from_text
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Summary, summarise
from robustness_study.results.metrics import under_attack

ALARM = "rescaled_logits"


@dataclass(frozen=True)
class Gain:
    """What the gradient of rescaled logits adds to the reported attack, on the same images."""

    epsilon_255: int
    share: float  # of images, right under the reported attack less right under this one
    clear: bool  # beyond the alarm's margin and the paired interval


def attacks_of(result: CellResults) -> dict[str, dict[str, Any]]:
    """The attacks by the gradient of rescaled logits, by their factors."""
    found = result.attack["attacks"].items()
    return {name.removeprefix(RESCALED): attack for name, attack in found if name.startswith(RESCALED)}


def gains(result: CellResults) -> list[Gain]:
    """For every factor, at every epsilon; none if `rescaled_logits` did not run."""
    found = []
    for factor, attack in attacks_of(result).items():
        positions = from_text(attack["positions"])
        for epsilon_255 in attack["predictions"]:
            labels, predicted = result.attacked(f"{RESCALED}{factor}", epsilon_255)
            right = predicted == labels
            reported = result.attacked("fgsm", epsilon_255)[1][positions] == labels
            share = float(reported.mean() - right.mean())
            found.append(Gain(int(epsilon_255), share, clearly_fewer(right, reported, MARGIN)))
    return found


def clear_at(result: CellResults) -> list[int]:
    """The epsilons at which one of the factors gains clearly, in grey levels."""
    return sorted({gain.epsilon_255 for gain in gains(result) if gain.clear})


def with_accepted_alarm(cells: Cells) -> Cells:
    """Those of which a model's alarm was accepted."""
    return {name: results for name, results in cells.items() if any(ALARM in each.attack["alarms"] for each in results)}


def left_by_the_better(results: list[CellResults]) -> tuple[str, dict[int, Summary]]:
    """The factor whose gradient leaves fewer right over all epsilons; by epsilon in grey levels, what it leaves."""
    left = {
        factor: {
            int(epsilon_255): summarise(results, under_attack(f"{RESCALED}{factor}", epsilon_255))
            for epsilon_255 in attack["predictions"]
        }
        for factor, attack in attacks_of(results[0]).items()
    }
    better = min(left, key=lambda factor: sum(summary["mean"] for summary in left[factor].values()))
    return better, left[better]
