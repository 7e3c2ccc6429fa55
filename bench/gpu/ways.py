"""The ways to run a training step: eager, compiled, as a CUDA graph, and both. Where does the time of a step go?

A CUDA graph records the kernels of one step and starts them all at once. TrivialAugment sorts images by operation, so
the shapes of its steps differ, and it cannot be recorded. The graph here holds the network's part: forward, backward,
optimiser and average. It is measured here only; the engine does not use one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench import report, speed
from bench.gpu.budget import reason_of
from bench.gpu.setting import Setting, endless_steps, training_of
from robustness_study.classifier.inference import to_float
from robustness_study.core.errors import StudyError
from robustness_study.training.engine import Training

Step = Callable[[], object]


def network_step(training: Training, images: Tensor, labels: Tensor) -> Step:
    """A step without augmentation, on the same images each time: float32 N×3×H×W and labels N."""
    bfloat16, average = training.dtype == torch.bfloat16, training.average

    def step() -> None:
        # A graph must not keep casts of weights from before it was recorded.
        with torch.autocast(training.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            features = training.features(images)
        training.model.head.training_loss(features.float(), labels).backward()
        training.optimiser.step(0.01)
        if average is not None:
            average.update(training.model, first=False)

    return step


def recorded(step: Step) -> Step:
    """The step as a CUDA graph. Raises StudyError without a GPU."""
    if not torch.cuda.is_available():
        raise StudyError("a CUDA graph needs a GPU; run it on one")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # what is made in the first steps, such as momenta, must not be made within the graph
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def ways(given: Setting) -> dict[str, Callable[[], Step]]:
    """What makes the step of each way, by its name."""

    def whole(compiled: bool) -> Step:
        steps = endless_steps(training_of(given, compile=compiled))
        return lambda: next(steps)

    def network(compiled: bool) -> Step:
        training = training_of(given, compile=compiled)
        size = training.recipe.batch_size
        training.model.train()
        return network_step(training, to_float(training.training.images[:size]), training.training.labels[:size])

    return {
        "whole step, eager": lambda: whole(False),
        "whole step, compiled": lambda: whole(True),
        "network, eager": lambda: network(False),
        "network, compiled": lambda: network(True),
        "network, graph": lambda: recorded(network(False)),
        "network, compiled graph": lambda: recorded(network(True)),
    }


def milliseconds(step: Step, given: Setting) -> float:
    """The time of one step in one turn."""
    started, taken = time.perf_counter(), 0
    while time.perf_counter() - started < given.seconds / 2:
        for _ in range(10):
            step()
        speed.wait(given.on)  # or else a graph's steps would queue up for minutes
        taken += 10
    return (time.perf_counter() - started) / taken * 1e3


def measure(given: Setting) -> dict[str, Any]:
    """Milliseconds of a step in each way, in turns. A way that does not work here has its reason instead."""
    steps: dict[str, Step] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, make in ways(given).items():
        started = time.perf_counter()
        try:
            step = make()
            for _ in range(3):
                step()
            speed.wait(given.on)
        except (StudyError, RuntimeError) as error:  # no compiler, too little memory, no GPU
            rows[name] = {"error": reason_of(error)}
            continue
        rows[name] = {"seconds_until_ready": time.perf_counter() - started}
        steps[name] = step
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(given.turns):
        for name, step in steps.items():
            found[name].append(milliseconds(step, given))
    for name, values in found.items():
        rows[name] |= {"milliseconds": report.summary(values)}
    for name, row in rows.items():
        shown = f"{row['milliseconds']['median']:7.2f} ms" if "milliseconds" in row else row["error"]
        print(f"{name:24s} {shown}", flush=True)
    return {"batch_size": given.recipe.batch_size, "turns": given.turns, "ways": rows}
