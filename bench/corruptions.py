"""Measures how long CIFAR-10-C's 19 corruptions at 5 severities take, in batches and image by image.

For comparison it cites the published generator: 113 ms per test image for all 95 variants on such a machine. That was
not measured again. Batches run in one process per core, and each process computes one variant at a time. The
measurement image by image runs in one process.
`python -m bench.corruptions [--images 10000] [--one-by-one 50]`
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np
import torch

from bench import report
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.corruptions import CIFAR_10_C, HELD_OUT, SEVERITIES, corrupt

BENCHMARK = (*CIFAR_10_C, *HELD_OUT)

REFERENCE_MS = 113.0  # the published generator: per image, all 95 variants, measured once on two such cores


def images_of(count: int) -> np.ndarray:
    """Images of smooth noise, uint8 N×32×32×3. What an image shows hardly changes how long a corruption takes."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


def timed(variant: tuple[str, int], count: int) -> float:
    """Seconds for one variant (corruption, severity) on `count` images, on one thread."""
    torch.set_num_threads(1)
    images = images_of(count)
    name, severity = variant
    corrupt(images[:2], name, severity, seed=0, split="test")  # not timed: imports, and matrices that are computed once
    started = time.perf_counter()
    corrupt(images, name, severity, seed=0, split="test")
    return time.perf_counter() - started


def one_by_one(variants: Iterable[tuple[str, int]], count: int) -> float:
    """Milliseconds per image for all variants, in batches of one image."""
    torch.set_num_threads(1)
    images = images_of(count)
    started = time.perf_counter()
    for name, severity in variants:
        for index in range(count):
            chosen = np.array([index])
            corrupt(images[chosen], name, severity, seed=0, split="test", indices=chosen)
    return (time.perf_counter() - started) / count * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--one-by-one", type=int, default=50, metavar="IMAGES")
    arguments = parser.parse_args()
    variants = list(product(BENCHMARK, SEVERITIES))
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(timed, variants[:workers], [1] * workers))  # not timed: start the processes and import
        started = time.perf_counter()
        seconds = list(pool.map(timed, variants, [arguments.images] * len(variants)))
        whole = time.perf_counter() - started
    loop_ms = one_by_one(variants, arguments.one_by_one)
    ours_ms = whole / arguments.images * 1e3
    rows = [
        {"corruption": name, "severity": severity, "seconds": round(taken, 3)}
        for (name, severity), taken in zip(variants, seconds, strict=True)
    ]
    (name, severity), longest = max(zip(variants, seconds, strict=True), key=lambda pair: pair[1])
    ratio = longest / float(np.median(seconds))
    print(
        f"{len(variants)} variants of {arguments.images} images: {whole:.1f} s on {workers} cores, {ours_ms:.2f} ms "
        f"per image; image by image {loop_ms:.0f} ms; the published generator {REFERENCE_MS:.0f} ms (cited)"
    )
    print(f"slowest: {name} {severity}, {longest:.2f} s on one core, {ratio:.1f} times the median")
    write_json(
        report.RESULTS / "corruptions-cpu.json",
        {
            "machine": report.machine(torch.device("cpu")),
            "images": arguments.images,
            "workers": workers,
            "seconds": round(whole, 2),
            "ms_per_image": ours_ms,
            "ms_per_image_one_by_one": loop_ms,
            "ms_per_image_published_generator_cited": REFERENCE_MS,
            "slowest_to_median": ratio,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    run(main)
