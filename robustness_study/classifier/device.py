"""The device to compute on. The environment chooses it, not params.yaml; it is recorded with the results."""

from __future__ import annotations

import os

import torch

from robustness_study.core.errors import StudyError

VARIABLE = "STUDY_DEVICE"


def choose(named: str | None = None) -> torch.device:
    """The device that STUDY_DEVICE names: "cpu", "cuda", or "auto" (the default: a GPU if there is one, else the CPU).

    If `named` is given, it counts instead. Also turns off TensorFloat-32 in cuDNN. Raises StudyError for any other
    value, and for "cuda" without a GPU.
    """
    wanted, where = (named, "--device") if named else (os.environ.get(VARIABLE, "auto"), VARIABLE)
    if wanted not in ("auto", "cpu", "cuda"):
        raise StudyError(f"{where} is {wanted!r}; set it to auto, cpu or cuda")
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise StudyError(
            f"{where} is cuda, but torch {torch.__version__} finds no CUDA device here; set it to cpu or auto"
        )
    # By default, float32 convolutions on a GPU round their inputs to 10 bits of mantissa (TensorFloat-32).
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def describe(device: torch.device) -> dict[str, str]:
    """What is recorded with results: the name of the device and the version of torch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": str(torch.__version__)}
