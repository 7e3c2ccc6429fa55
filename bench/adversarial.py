"""Measures what adversarial training costs: its training step against that of clean training, recipe `cpu`.

The two take turns, so that other work on the machine affects both equally. A ratio of times is computed for each turn.
On the CPU, times are those of the processor (of all threads), which other work changes little.
The accuracy under PGD, measured once per epoch of 10,000 images, is timed as well, and so is the accuracy without an
attack. `time_of_training` is the ratio of whole epochs.
`python -m bench.adversarial [--turns 7] [--steps 10]` writes `bench/results/adversarial-cpu.json`.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import Any

import numpy as np
import torch

from bench import report
from bench.speed import CLASSES, IMAGES, ours, wait
from robustness_study import training_sets
from robustness_study.classifier import device
from robustness_study.classifier.precision import repeatable
from robustness_study.core import params
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.schema.recipe import Recipe
from robustness_study.training.engine import Training
from robustness_study.training.under_attack import PGD_IMAGES
from robustness_study.training.watcher import Images

WATCHED = 1000


def now(on: torch.device) -> float:
    """The time in seconds: of this process on the processor, or of a clock if a GPU does the work."""
    wait(on)
    return time.process_time() if on.type == "cpu" else time.perf_counter()


def seconds_per_step(training: Training, steps: int, epoch: int, on: torch.device) -> float:
    """The mean time of the first steps of an epoch, without drawing the epoch's random numbers."""
    with repeatable(on, training.recipe.deterministic):
        each = training.epoch_from(epoch, 0)
        next(each)
        started = now(on)
        taken = sum(1 for _ in islice(each, steps))
        return (now(on) - started) / taken


def measure(recipe: Recipe, turns: int, steps: int, on: torch.device) -> dict[str, Any]:
    """Seconds of each part and their ratios, summarised over turns. The first turn is a warm-up and does not count."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, IMAGES).astype(np.uint8)
    clean, adversarial = (ours(recipe, images, labels, on) for _ in range(2))
    config = params.section("train_set_config.adversarial", training_sets.config_class("adversarial"))
    adversarial.attack = training_sets.batch_attack("adversarial", config)
    watched = {
        name: Images(clean.training.images[:count], clean.training.labels[:count])
        for name, count in (("train", WATCHED), ("val", WATCHED), ("val_pgd", PGD_IMAGES))
    }
    found: dict[str, list[float]] = {}
    for turn in range(turns + 1):
        step, attacked = (seconds_per_step(each, steps, turn + 1, on) for each in (clean, adversarial))
        times = [now(on)]
        for measured in (adversarial.measure, adversarial.measure_under_pgd):
            measured(watched)
            times.append(now(on))
        plain, pgd = np.diff(times).tolist()
        whole = [IMAGES // recipe.batch_size * each + plain for each in (step, attacked)]
        values = {
            "clean_step_seconds": step,
            "adversarial_step_seconds": attacked,
            "accuracy_seconds": plain,
            "accuracy_under_pgd_seconds": pgd,
            "time_of_step": attacked / step,
            "time_of_training": (whole[1] + pgd) / whole[0],
        }
        for name, value in values.items():
            if turn:
                found.setdefault(name, []).append(value)
    return {name: report.summary(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    on = device.choose()
    recipe = params.section("recipes.cpu", Recipe)
    found = measure(recipe, arguments.turns, arguments.steps, on)
    settings = {"recipe": "cpu", "images": IMAGES, "turns": arguments.turns, "steps": arguments.steps}
    write_json(report.RESULTS / f"adversarial-{on.type}.json", {"machine": report.machine(on)} | settings | found)
    for name, summary in found.items():
        print(f"{name:28s} {summary}")


if __name__ == "__main__":
    run(main)
