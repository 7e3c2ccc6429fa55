"""Measures each 3×3 convolution of the networks in both ways: the library's kernels, and one matrix product.

The limit in robustness_study/networks/_convolution.py follows from this table. For each shape it prints milliseconds of
the forward and of the backward pass in each way: medians of turns in which the ways alternate.
`python -m bench.convolutions [--batch 64] [--turns 15]` writes `bench/results/convolutions-cpu.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench import report
from robustness_study.classifier.precision import precision_of
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.networks import Network
from robustness_study.networks import _convolution as ours

NETWORKS = (
    ("resnet18", "imagenet"),
    ("resnet18", "half"),
    ("resnet18", "cifar"),
    ("resnet18_narrow", "half"),
    ("wide_resnet", "cifar"),
)
SIDE = 32
Layer = tuple[int, int, int, int]  # channels of the input and of the output, side of the input in pixels, stride


def layers() -> list[Layer]:
    """The shapes of all `Convolution3x3` of the networks, on images of 32 pixels."""
    found: set[Layer] = set()

    def note(layer: ours.Convolution3x3, given: tuple[Tensor], out: Tensor) -> None:
        found.add((layer.in_channels, layer.out_channels, given[0].shape[2], layer.stride[0]))

    for name, stem in NETWORKS:
        backbone, _ = Network(name, stem, SIDE).make_backbone()
        for layer in backbone.modules():
            if isinstance(layer, ours.Convolution3x3):
                layer.register_forward_hook(note)
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, SIDE, SIDE))
    return sorted(found, key=lambda layer: (-layer[2], layer))


def layer_of(layer: Layer, most_pixels: int) -> Callable[[Tensor], Tensor]:
    """The convolution of this shape: a matrix product up to so many output pixels."""
    inputs, outputs, _, stride = layer
    module = ours.Convolution3x3(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)

    def compute(images: Tensor) -> Tensor:
        ours.MOST_PIXELS = most_pixels
        return module.to(memory_format=torch.channels_last)(images)

    return compute


def passes(compute: Callable[[Tensor], Tensor], images: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds of the forward and of the backward pass, for the gradients of the images and of the weights."""
    given = images.detach().requires_grad_()
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = compute(given)
    between = time.perf_counter()
    out.backward(torch.ones_like(out))
    return between - started, time.perf_counter() - between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=15)
    given = parser.parse_args()
    on = torch.device("cpu")
    dtype = precision_of("auto", on, "resnet18")
    rows = []
    print(f"ms of the forward and of the backward pass in {dtype}: library, then matrix product")
    for layer in layers():
        found = measured(layer, given.batch, given.turns, dtype)
        rows.append({"layer": layer, "ms": found})
        inputs, outputs, side, stride = layer
        shown = "   ".join(f"{forward:6.2f} {backward:6.2f}" for forward, backward in found.values())
        print(f"{inputs:4d} → {outputs:3d}, {side:2d}×{side:<2d}, stride {stride}   {shown}", flush=True)
    machine = report.machine(on)
    write_json(
        report.RESULTS / "convolutions-cpu.json",
        {"machine": machine, "dtype": str(dtype), "batch": given.batch, "turns": given.turns, "rows": rows},
    )


def measured(layer: Layer, batch: int, turns: int, dtype: torch.dtype) -> dict[str, tuple[float, float]]:
    """For each way, the median milliseconds of the forward and of the backward pass. The first turn does not count."""
    inputs, _, side, _ = layer
    images = torch.randn(batch, inputs, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    ways = {"library": layer_of(layer, 0), "product": layer_of(layer, side * side)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, compute in ways.items():
            seconds[name].append(passes(compute, images, dtype))
    medians = {name: np.median(found[1:], axis=0) * 1e3 for name, found in seconds.items()}
    return {name: (float(forward), float(backward)) for name, (forward, backward) in medians.items()}


if __name__ == "__main__":
    run(main)
