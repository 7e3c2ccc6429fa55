"""Training speed of each stem and of the plain loop, in images per second, and the share of the card's peak."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import plain, report, speed
from bench.gpu.setting import CLASSES, Setting, endless_steps, made_images, rate, training_of, warm_up
from robustness_study.classifier.inference import to_float

# Dense bfloat16 with tensor cores, in 10¹² operations a second, from NVIDIA's data sheets.
PEAK_TFLOPS = {
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
}


def peak_of(card: str) -> float | None:
    """The card's peak in 10¹² operations a second; None for a card that the table lacks. The longest name decides."""
    words = set(re.split(r"[\s-]+", card))
    named = sorted((name for name in PEAK_TFLOPS if set(name.split()) <= words), key=len)
    return PEAK_TFLOPS[named[-1]] if named else None


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """A context with torch's own setting of TensorFloat-32 in convolutions, which this project turns off.

    A plain loop has it on. Without it the plain loop would be slower than what people run.
    """
    ours = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = ours


def flop_per_image(given: Setting, **changes: Any) -> float:
    """Floating point operations of one training step for one image: forward, and backward for all weights."""
    training = training_of(given, **changes | {"compile": False, "precision": "float32"})
    images, labels = training.training.images[:8], training.training.labels[:8]
    with FlopCounterMode(display=False) as counter:
        training.loss(to_float(images), labels).backward()
    return counter.get_total_flops() / len(images)


def product_tflops(given: Setting) -> float:
    """What a large matrix product in bfloat16 reaches on this device, in 10¹² operations a second (median of turns)."""
    side = 256 if given.tiny else 8192
    one, other = (torch.randn(side, side, device=given.on).bfloat16() for _ in range(2))
    seconds = []
    for _ in range(3 + 10):
        speed.wait(given.on)
        started = time.perf_counter()
        one @ other
        speed.wait(given.on)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / report.summary(seconds[3:])["median"] / 1e12


def of_stem(given: Setting, stem: str) -> dict[str, Any]:
    """Images per second of this project's recipe and of the plain loop, in turns, and their ratio."""
    changes = {"stem": stem, "network": "resnet18"}
    training = training_of(given, **changes)
    steps = endless_steps(training)
    network = plain.model(CLASSES, stem)
    of_plain = plain.steps(network, *made_images(given.images), 10**6, given.on)
    warm_up(training, steps, given)
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(given.turns + 1):
        found = rate(training, steps, given)
        with as_torch_comes():
            of_turn = {"ours": found, "plain": speed.speed_of(of_plain, given.seconds, given.on)}
        for name, value in of_turn.items():
            if turn:  # the first is a warm-up
                speeds[name].append(value)
    speeds["ratio"] = [ours / other for ours, other in zip(speeds["ours"], speeds["plain"], strict=True)]
    found_of = {name: report.summary(values) for name, values in speeds.items()}
    flop = flop_per_image(given, **changes)
    row = {"stem": stem, "compile": training.recipe.compile, "batch_size": training.recipe.batch_size, **found_of}
    tflops = found_of["ours"]["median"] * flop / 1e12
    print(
        f"{stem:9s} ours {found_of['ours']['median']:8.0f} images/s   plain {found_of['plain']['median']:8.0f}   "
        f"ratio {found_of['ratio']['median']:6.2f}   {tflops:6.1f} Tflop/s",
        flush=True,
    )
    return row | {"flop_per_image": flop, "tflops": tflops}


def measure(given: Setting) -> dict[str, Any]:
    """Every stem. Shares are of the data sheet's peak, if the card is known, and of a large matrix product here."""
    card = torch.cuda.get_device_name(given.on) if given.on.type == "cuda" else ""
    peak, product = peak_of(card), product_tflops(given)
    rows = [of_stem(given, stem) for stem in given.stems]
    for row in rows:
        row["share_of_product"] = row["tflops"] / product
        row["share_of_peak"] = None if peak is None else row["tflops"] / peak
    return {"peak_tflops": peak, "product_tflops": product, "turns": given.turns, "rows": rows}
