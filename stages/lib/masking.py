"""Where the gradient of rescaled logits is a stronger attack than the reported one: there the reported figures flatter.

A saturated softmax or its like hides part of the gradient (Carlini et al. 2019, arXiv 1902.06705). The stage `attack`
raises the alarm `rescaled_logits`; where that was accepted, every figure it is about is marked.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.lib.cells import from_text
from stages.lib.per_image import estimate_of
from stages.lib.results import CellResults, Cells
from stages.lib.statistics import mcnemar

ALARM = "rescaled_logits"
MARGIN, LEVEL = 0.02, 0.05  # the alarm's own, which lie beside torch
RESCALED = "fgsm_of_logits_x"  # and the factor: what attack.json calls the attack


@dataclass(frozen=True)
class Gain:
    """What the gradient of the logits times a factor adds to the reported attack, on the same images."""

    factor: str
    epsilon_255: int
    share: float  # of images, right under the reported attack alone less right under this one alone
    clear: bool  # beyond the alarm's margin and the paired interval


def gains(result: CellResults) -> list[Gain]:
    """Of every factor at every epsilon it was tried at."""
    found = []
    for name, attack in result.attack["attacks"].items():
        if name.startswith(RESCALED):
            positions = from_text(attack["positions"])
            for epsilon_255 in attack["predictions"]:
                labels, predicted = result.attacked(f"{name}_{epsilon_255}")
                right = predicted == labels
                reported = result.attacked(f"fgsm_{epsilon_255}")[1][positions] == labels
                share = float(reported.mean() - right.mean())
                clear = share > MARGIN and mcnemar(right, reported) < LEVEL
                found.append(Gain(name.removeprefix(RESCALED), int(epsilon_255), share, clear))
    return found


def least(results: list[CellResults]) -> dict[int, float]:
    """By epsilon in grey levels, the mean over seeds of what the gradient of the better factor leaves right."""
    found: dict[int, float] = {}
    for name, attack in results[0].attack["attacks"].items():
        if name.startswith(RESCALED):
            for epsilon_255 in attack["predictions"]:
                left = estimate_of(results, f"{name}_{epsilon_255}").mean
                found[int(epsilon_255)] = min(left, found.get(int(epsilon_255), 1.0))
    return found


def clear_at(result: CellResults) -> list[int]:
    """The epsilons at which one of the factors gains clearly, in grey levels."""
    return sorted({gain.epsilon_255 for gain in gains(result) if gain.clear})


def flattered(cells: Cells) -> Cells:
    """Those of which a model's alarm was accepted."""
    return {name: results for name, results in cells.items() if any(ALARM in each.attack["alarms"] for each in results)}
