"""`python -m bench.scale`: simulates a thousand models on many workers, to see what saturates first.

A worker reads a model's inputs, computes, and writes its results. All workers share one store (the folder of DVC's
cache, or the remote), which serves one byte stream at a fixed speed in order of arrival. The head takes a fixed time
for each result. The sizes are those of the committed study; the times are arguments. Prints a table.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import numpy as np

from robustness_study.core.program import run

READ_MB, WRITTEN_MB = 1138, 100  # inputs and outputs of a model: raw, training set, corrupted, suite; then its results


@dataclass(frozen=True)
class Setting:
    """What is simulated. Times in seconds."""

    models: int
    workers: int
    compute_s: float  # mean of a model's stages; single models vary by a tenth
    overhead_s: float  # of a worker for each model: the clone, and starting DVC
    head_s: float  # of the head for each model
    store_mb_per_s: float


@dataclass(frozen=True)
class Outcome:
    """What a simulation gives."""

    hours: float
    workers_busy: float  # share of the workers' time in which models compute
    store_busy: float  # share of the time in which the store is at work
    head_busy: float


def simulate(setting: Setting, seed: int = 0) -> Outcome:
    """Follow every model through reading, computing and writing; workers take the next model when they are free."""
    computes = setting.compute_s * np.random.default_rng(seed).normal(1, 0.1, setting.models).clip(0.5)
    store_free = head_free = ended = 0.0
    # Events in order of time: a free worker (no model), or a model whose computing ends.
    events: list[tuple[float, int]] = [(0.0, -1)] * setting.workers
    started = 0
    while events:
        now, model = heapq.heappop(events)
        if model >= 0:  # its results go to the store, and the head records them
            store_free = max(now, store_free) + WRITTEN_MB / setting.store_mb_per_s
            head_free = max(store_free, head_free) + setting.head_s
            ended, now = max(ended, head_free), store_free
        if started < setting.models:
            store_free = max(now, store_free) + READ_MB / setting.store_mb_per_s
            heapq.heappush(events, (store_free + setting.overhead_s + float(computes[started]), started))
            started += 1
    store_s = setting.models * (READ_MB + WRITTEN_MB) / setting.store_mb_per_s
    return Outcome(
        hours=ended / 3600,
        workers_busy=float(computes.sum()) / (setting.workers * ended),
        store_busy=store_s / ended,
        head_busy=setting.models * setting.head_s / ended,
    )


def most_workers(setting: Setting) -> float:
    """The number of workers at which the store, or the head, has no time left."""
    per_model = setting.compute_s + setting.overhead_s
    return per_model / max((READ_MB + WRITTEN_MB) / setting.store_mb_per_s, setting.head_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--overhead-s", type=float, default=15)
    parser.add_argument("--head-s", type=float, default=0.05)
    arguments = parser.parse_args()
    print("| minutes a model | store, MB/s | workers | hours | workers busy | store busy | head busy | most workers |")
    print("|---|---|---|---|---|---|---|---|")
    for minutes in (2, 15, 60):
        for speed in (100, 1000):
            for workers in (8, 64, 256):
                setting = Setting(
                    arguments.models, workers, 60 * minutes, arguments.overhead_s, arguments.head_s, speed
                )
                found = simulate(setting)
                shares = " | ".join(f"{value:.0%}" for value in (found.workers_busy, found.store_busy, found.head_busy))
                print(
                    f"| {minutes} | {speed} | {workers} | {found.hours:.1f} | {shares} | {most_workers(setting):.0f} |"
                )


if __name__ == "__main__":
    run(main)
