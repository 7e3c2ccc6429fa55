"""Shared by the benchmarks: the folder `bench/results/`, the description of the machine, and a summary of values."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The processor's name from the operating system."""
    known = Path("/proc/cpuinfo")  # on Linux
    for line in known.read_text(encoding="utf-8", errors="replace").splitlines() if known.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine(on: torch.device) -> dict[str, Any]:
    """The hardware and the library versions that a result depends on."""
    name = torch.cuda.get_device_name(on) if on.type == "cuda" else processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("torch", "torchvision", "numpy")},
    }


def summary(values: list[float]) -> dict[str, float | int]:
    """The number n of the values, their median, minimum and maximum."""
    return {"n": len(values), "median": float(np.median(values)), "min": min(values), "max": max(values)}
