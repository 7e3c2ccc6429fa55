"""What `deterministic` costs, and whether it keeps its promise: two runs with the same bits, as the recipe compiles."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from bench import report
from bench.gpu.budget import start_afresh
from bench.gpu.setting import Setting, endless_steps, rate, training_of, warm_up
from robustness_study.classifier.precision import repeatable

LOSSES = ("cross_entropy", "angular")


def trained(given: Setting, loss: str, deterministic: bool, steps: int) -> dict[str, torch.Tensor]:
    """The weights after some steps, on the CPU."""
    start_afresh()
    training = training_of(given, loss, deterministic=deterministic)
    with repeatable(given.on, deterministic):
        for _ in islice(endless_steps(training), steps):
            pass
    return {name: tensor.cpu() for name, tensor in training.model.state_dict().items()}


def same_bits(given: Setting, loss: str, deterministic: bool) -> bool:
    """Whether two runs from the same start end with the same bits."""
    one, other = (trained(given, loss, deterministic, 3 if given.tiny else 40) for _ in range(2))
    return all(torch.equal(one[name], other[name]) for name in one)


def measure(given: Setting) -> dict[str, Any]:
    """For each loss: images per second with and without, in turns, their ratio, and whether two runs are the same."""
    rows = []
    for loss in LOSSES:
        trainings = {name: training_of(given, loss, deterministic=name == "on") for name in ("off", "on")}
        steps = {name: endless_steps(training) for name, training in trainings.items()}
        for name, training in trainings.items():
            warm_up(training, steps[name], given)
        speeds: dict[str, list[float]] = {name: [] for name in trainings}
        for _ in range(given.turns):
            for name, training in trainings.items():
                speeds[name].append(rate(training, steps[name], given))
        speeds["ratio"] = [off / on for off, on in zip(speeds["off"], speeds["on"], strict=True)]
        row: dict[str, Any] = {"loss": loss} | {name: report.summary(values) for name, values in speeds.items()}
        row["same_bits"] = {name: same_bits(given, loss, name == "on") for name in ("off", "on")}
        rows.append(row)
        print(
            f"{loss:14s} takes {row['ratio']['median']:.2f} times as long with it; the same bits: with it "
            f"{row['same_bits']['on']}, without {row['same_bits']['off']}",
            flush=True,
        )
    return {"turns": given.turns, "compile": given.recipe.compile, "rows": rows}
