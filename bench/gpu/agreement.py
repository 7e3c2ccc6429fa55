"""How far the GPU and the CPU agree: the logits of one model, and every corruption. All in float32 unless said."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.gpu.setting import Setting, endless_steps, made_images, training_of
from robustness_study import corruptions
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.reduced import Reduced
from robustness_study.corruptions import SEVERITIES, corrupt


def differ(one: Tensor, other: Tensor) -> dict[str, float]:
    """The largest difference of logits N×classes, their largest size, and the share of images of the same class."""
    return {
        "largest_difference": (one - other).abs().max().item(),
        "largest_logit": other.abs().max().item(),
        "same_class": (one.argmax(1) == other.argmax(1)).float().mean().item(),
    }


@torch.no_grad()
def logits(given: Setting) -> dict[str, dict[str, float]]:
    """A model, trained for some steps on the device, that scores the same images on the device and on the CPU."""
    training = training_of(given, compile=False)
    with torch.enable_grad():
        for _ in islice(endless_steps(training), 3 if given.tiny else 100):
            pass
    model = training.measured_model().eval()
    images = to_float(torch.from_numpy(made_images(40 if given.tiny else 1000)[0]))
    here = model(images.to(given.on)).cpu()
    reduced = Reduced(model, "bfloat16", given.recipe.network)(images.to(given.on)).cpu()
    there = model.cpu()(images)
    return {"float32 and the CPU": differ(here, there), "the precision of training and float32": differ(reduced, here)}


def of_corruption(name: str, images: np.ndarray, on: torch.device) -> dict[str, Any]:
    """How many bytes of the corrupted images differ, over all severities, and by how much at most."""
    unlike = []
    for severity in SEVERITIES:
        here, there = (
            corrupt(images, name, severity, seed=0, split="test", device=device).astype(int)
            for device in (on.type, "cpu")
        )
        unlike.append(np.abs(here - there))
    return {"corruption": name, "differ": float(np.mean([(each > 0).mean() for each in unlike])),
            "most": int(np.max(unlike))}  # fmt: skip


def measure(given: Setting) -> dict[str, Any]:
    """Logits, then every corruption."""
    found: dict[str, Any] = {"logits": logits(given)}
    for name, row in found["logits"].items():
        print(f"logits, {name}: {row['largest_difference']:.2g}, same class {row['same_class']:.4f}", flush=True)
    images, _ = made_images(4 if given.tiny else 100)
    named = corruptions.CIFAR_10_C[:3] if given.tiny else corruptions.names()
    found["images"] = len(images)
    found["corruptions"] = [of_corruption(name, images, given.on) for name in named]
    worst = max(found["corruptions"], key=lambda row: row["differ"])
    print(f"corruptions: at most {worst['differ']:.2%} of the bytes differ ({worst['corruption']})", flush=True)
    return found
