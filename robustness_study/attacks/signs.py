"""One step along signs: the fast gradient sign method, through cleverhans, and random signs beside it.

Goodfellow et al. 2015 (arXiv 1412.6572). The signs of a gradient hold for every epsilon, so they are computed once:
cleverhans differentiates the cross-entropy of the logits it is given and steps along the signs of the gradient. It
takes the mean over a batch, which changes no sign but where a gradient is about to underflow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks import Logits
from robustness_study.attacks.ball import assert_within
from robustness_study.core.seeds import streams


def gradient_signs(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The signs of the gradient of the loss, int8 N×3×H×W in {−1, 0, 1}; all of an image are 0 where it has none."""
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    stepped = fast_gradient_method(logits, images, 1.0, norm=np.inf, y=labels).detach()
    return torch.round(stepped - images).to(torch.int8)


def random_signs(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int) -> Tensor:
    """Random signs, int8 N×shape in {−1, 1}, on the CPU: an image's follow from its index and the seed alone."""
    drawn = [rng.integers(0, 2, tuple(shape), dtype=np.int8) for rng in streams(indices, seed, "random signs")]
    return torch.from_numpy(np.stack(drawn)) * 2 - 1


def step(images: Tensor, signs: Tensor, epsilon_255: int) -> Tensor:
    """Images moved along the signs, each value by epsilon_255/255 and not out of [0, 1].

    Raises StudyError if the result leaves the ball or the range.
    """
    moved = (images + epsilon_255 / 255 * signs).clamp(0, 1)
    assert_within(images, moved, epsilon_255)
    return moved
