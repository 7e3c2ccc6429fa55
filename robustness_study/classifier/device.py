"""Where tensors are computed: asked for by the environment, never by params, and recorded with results."""

from __future__ import annotations

import os

import torch

from robustness_study.core.errors import StudyError

VARIABLE = "STUDY_DEVICE"


def choose() -> torch.device:
    """The device of STUDY_DEVICE: "auto" (the default: a GPU where there is one), "cpu" or "cuda".

    Raises StudyError for another word, and for "cuda" where there is none.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise StudyError(f"{VARIABLE} is {wanted!r}; auto, cpu and cuda are allowed")
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise StudyError(
            f"{VARIABLE} is cuda, but torch {torch.__version__} finds no CUDA device here; use cpu or auto"
        )
    # float32 is to mean float32: by default a GPU's convolutions round their inputs to 10 bits of mantissa.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def describe(device: torch.device) -> dict[str, str]:
    """What results record: the kind of device and the versions that computed them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": str(torch.__version__)}
