"""The recipe for tests of training (small, float32, every extra off), and a small network."""

from __future__ import annotations

from typing import Any

from torch import nn

RECIPE: dict[str, Any] = {
    "network": "resnet18",
    "stem": "imagenet",
    "epochs": 1,
    "batch_size": 8,
    "peak_learning_rate": 0.05,
    "warmup_share": 0.3,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "average_decay": 0.0,
    "low_resolution_share": 0.0,
    "crop_padding": 2,
    "flip": "random",
    "trivial_augment": False,
    "cutout_pixels": 0,
    "zero_init_residual": False,
    "precision": "float32",
    "compile": False,
    "deterministic": False,
    "watched_images": 12,
    "evidence_share": 1.0,
}


class Tiny(nn.Sequential):
    """A backbone of one convolution, with batch norm, N×3×H×W → N×512."""

    def __init__(self) -> None:
        convolution = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        super().__init__(convolution, nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
