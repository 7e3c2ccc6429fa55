"""Measures training speed in images per second: this project against the plain loop, same machine and network.

The two take turns, so that other work on the machine affects both equally. A ratio is computed for each turn. Both use
the stem that is compared. Each uses its own batch size and number format, as in normal use. A turn is one epoch of
10,000 images, or less if `--seconds` have passed.
`python -m bench.speed [--variants cifar half imagenet] [--turns 3] [--seconds 8]`
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bench import plain, report
from robustness_study import losses
from robustness_study.classifier import device, storage
from robustness_study.classifier.precision import repeatable
from robustness_study.core import params
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.schema.recipe import Recipe
from robustness_study.training.engine import Training
from robustness_study.training.one_model import network_of
from robustness_study.training.watcher import Images

CLASSES = 10
IMAGES = 10_000
VARIANTS: dict[str, dict[str, Any]] = {
    "imagenet": {"stem": "imagenet", "compile": False},
    "half": {"stem": "half", "compile": False},
    "cifar": {"stem": "cifar", "compile": False},
    "cifar-compiled": {"stem": "cifar", "compile": True},
}


def ours(recipe: Recipe, images: np.ndarray, labels: np.ndarray, on: torch.device) -> Training:
    """A training run of this project: the recipe with cross-entropy."""
    loss = losses.make("cross_entropy", {"label_smoothing": 0.1})
    model = storage.build(network_of(recipe, images), loss, CLASSES, [0.5] * 3, [0.25] * 3).to(on)
    data = Images(torch.from_numpy(images).to(on), torch.from_numpy(labels.astype(np.int64)).to(on))
    return Training(model, data, recipe, loss.batches, 0)


def wait(on: torch.device) -> None:
    """Wait until the device has finished all work."""
    if on.type == "cuda":
        torch.cuda.synchronize()


def speed_of(steps: Iterator[int], seconds: float, on: torch.device) -> float:
    """Images per second. `steps` yields the number of images of each step; it is read for about `seconds` at most."""
    started, trained = time.perf_counter(), 0
    for size in steps:
        trained += size
        if time.perf_counter() - started >= seconds:
            break
    wait(on)
    return trained / (time.perf_counter() - started)


def measure(recipe: Recipe, turns: int, seconds: float, on: torch.device) -> dict[str, Any]:
    """Images per second of both, summarised over turns. The first turn of each is a warm-up and does not count."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, IMAGES).astype(np.uint8)
    run, network = ours(recipe, images, labels, on), plain.model(CLASSES, recipe.stem)
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(turns + 1):
        with repeatable(on, recipe.deterministic):
            steps = (recipe.batch_size for _ in run.epoch_from(turn + 1, 0))
            ours_speed = speed_of(steps, seconds, on)
        plain_speed = speed_of(plain.steps(network, images, labels, 1, on), seconds, on)
        if turn:
            speeds["ours"].append(ours_speed)
            speeds["plain"].append(plain_speed)
    ratios = [one / other for one, other in zip(speeds["ours"], speeds["plain"], strict=True)]
    summaries = {name: report.summary(found) for name, found in (speeds | {"ratio": ratios}).items()}
    return {"batch_size": recipe.batch_size, "compile": recipe.compile, **summaries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    values, on = params.read(), device.choose()
    recipe_name = "gpu" if on.type == "cuda" else "cpu"
    fixed = {"epochs": arguments.turns + 1, "low_resolution_share": 0.0}
    rows = []
    print(f"images per second (median of {arguments.turns} turns); ratio: median (minimum to maximum)")
    for name in arguments.variants:
        recipe = Recipe.model_validate(values["recipes"][recipe_name] | VARIANTS[name] | fixed)
        row = {"variant": name} | measure(recipe, arguments.turns, arguments.seconds, on)
        rows.append(row)
        ratio = row["ratio"]
        print(
            f"{name:16s} ours {row['ours']['median']:7.0f}   plain {row['plain']['median']:7.0f}   "
            f"ratio {ratio['median']:5.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
            flush=True,
        )
    write_json(report.RESULTS / f"speed-{on.type}.json", {"machine": report.machine(on), "rows": rows})


if __name__ == "__main__":
    run(main)
